// Package lockaudit is a chaos and audit agent for existing distributed-lock
// deployments. See README.md, and docs/architecture.md for the map.
package lockaudit
