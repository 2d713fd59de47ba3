package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"

	"github.com/lockaudit/lockaudit/locks/redis"
)

// Environment variables for the Sentinels, which have users of their own.
const (
	sentinelPasswordVar = "LOCKAUDIT_SENTINEL_PASSWORD"
	sentinelUserVar     = "LOCKAUDIT_SENTINEL_USER"
)

// sentinel: the address is one of Sentinels.
func (s service) sentinel() bool { return strings.HasSuffix(s.scheme, "+sentinel") }

// master reads its name behind the addresses of the Sentinels. Without one they are
// asked, and must watch only one.
func (s *source) master(path string) error {
	name, err := url.PathUnescape(path)
	if err != nil || strings.ContainsAny(name, "/? ") {
		return exit{exitUsage, hinted{errors.New("read URL: behind the address of a Sentinel is the name of its master"), "redis+sentinel://10.0.0.1:26379/mymaster"}}
	}
	if name == "" {
		name = redis.AnyMaster
	}
	options, err := json.Marshal(map[string]string{
		"sentinel": name, "sentinel_username": os.Getenv(sentinelUserVar), "sentinel_password": os.Getenv(sentinelPasswordVar),
	})
	if err != nil {
		return fmt.Errorf("read URL: %w", err)
	}
	s.target.Options = options
	return nil
}

// sentinelSecrets adds to the options of a plan how to log in to the Sentinels: by the
// variables, never by their values.
func (s source) sentinelSecrets(options string) string {
	if !s.service.sentinel() || options == "" {
		return options
	}
	options = strings.TrimSuffix(options, "}")
	if user := os.Getenv(sentinelUserVar); user != "" {
		options += fmt.Sprintf(", sentinel_username: %q", user)
	}
	if os.Getenv(sentinelPasswordVar) != "" {
		options += fmt.Sprintf(", sentinel_password: %q", "${"+sentinelPasswordVar+"}")
	}
	return options + "}"
}
