// Package locks is the contract between lockaudit and a lock service. One folder
// below holds one backend, package all lists them, package locktest is the
// conformance suite that each must pass.
package locks

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/lockaudit/lockaudit/facts"
	"github.com/lockaudit/lockaudit/history"
	"github.com/lockaudit/lockaudit/survey"
)

// Definite outcomes. Any other error means that the operation may have happened.
var (
	// ErrHeld: acquire did not get the lock, somebody else holds it, and nothing
	// of the attempt is left at the service that could still become a grant.
	ErrHeld = errors.New("lock is held by another client")
	// ErrLost: the hold is over; the renew or release changed nothing.
	ErrLost = errors.New("lock is no longer held")
	// ErrRefused: the request was not valid and had no effect.
	ErrRefused = errors.New("request refused")
)

// Target says where a lock service is and how to reach it.
type Target struct {
	Backend   string        `json:"backend"`
	Endpoints []string      `json:"endpoints"`
	Key       string        `json:"key"`
	TTL       time.Duration `json:"ttl"` // nanoseconds
	TLS       *TLS          `json:"tls,omitempty"`
	Username  string        `json:"username,omitempty"`
	Password  string        `json:"password,omitempty"`
	// ReadOnly: nothing is acquired or written by way of it. A driver that can have the
	// service itself see to that does.
	ReadOnly bool `json:"read_only,omitempty"`
	// Options are the backend's own; its driver decodes them and refuses unknown ones.
	Options json.RawMessage `json:"options,omitempty"`
}

// TLS names files on the node where the client runs. An empty CA means the
// system's; CertFile and KeyFile are the client's own, for mutual TLS.
type TLS struct {
	CAFile     string `json:"ca,omitempty" yaml:"ca,omitempty"`
	CertFile   string `json:"cert,omitempty" yaml:"cert,omitempty"`
	KeyFile    string `json:"key,omitempty" yaml:"key,omitempty"`
	ServerName string `json:"server_name,omitempty" yaml:"server_name,omitempty"`
}

// Grant is a successful acquire.
type Grant struct {
	Key   string
	Token history.Token
	TTL   time.Duration // as granted; 0: there is no lease, see SessionBound
}

// Capability is something a client can do beyond acquire and release.
type Capability string

// Capabilities that probes and judges depend on.
const (
	// Fencing: tokens are ordered, a later grant has a larger one.
	Fencing Capability = "fencing"
	// Renew: Renew extends the lease.
	Renew Capability = "renew"
	// AutoRenew: the client renews by itself for as long as it runs.
	AutoRenew Capability = "auto-renew"
	// ObserveLoss: the client notices by itself that it no longer holds.
	ObserveLoss Capability = "observe-loss"
	// OwnerCheck: an ok Release proves that the lock was still held at that moment.
	OwnerCheck Capability = "owner-check"
	// Observe: the client can ask the service who holds a key.
	Observe Capability = "observe"
	// SessionBound: a hold has no lease, and the TTL of its grant is 0. It lasts for as
	// long as the service sees the client's connection: closing the client ends it, and
	// one that is paused or cut off holds it until the service finds out.
	SessionBound Capability = "session-bound"
	// Inspect: the client can describe the deployment.
	Inspect Capability = "inspect"
)

// Client is one party that competes for locks. It holds at most one grant per
// key. Methods may be called concurrently; each returns soon after its context
// ends. A Client never retries an attempt whose outcome is unknown.
type Client interface {
	// Acquire tries to get the lock for up to wait (0: one attempt). It returns
	// ErrHeld if it certainly did not, and any other error if it may have.
	Acquire(ctx context.Context, key string, ttl, wait time.Duration) (Grant, error)
	// Renew extends the lease and returns it as granted; ErrLost if it is over.
	Renew(ctx context.Context, g Grant) (time.Duration, error)
	// Release gives the lock back if this grant still holds it; ErrLost if not.
	// It never removes somebody else's hold.
	Release(ctx context.Context, g Grant) error
	// Capabilities of this client, constant over its life.
	Capabilities() []Capability
	// Close ends the client without releasing anything that is held, except where
	// the hold is the connection (SessionBound), and is safe to call twice.
	Close() error
}

// Notice is what a client noticed by itself.
type Notice struct {
	Kind NoticeKind
	Key  string
	TTL  time.Duration // Renewed: as granted
	// Since, for Renewed: a reading of this process's monotonic clock at which
	// the renewal had certainly not been sent yet.
	Since time.Time
}

// NoticeKind is renewed or lost.
type NoticeKind string

// The kinds of notice.
const (
	Renewed NoticeKind = "renewed"
	Lost    NoticeKind = "lost"
)

// Notifier is implemented by clients with AutoRenew or ObserveLoss. The channel
// is closed by Close.
type Notifier interface {
	Notices() <-chan Notice
}

// Observer asks the service, without side effect, who holds the key.
type Observer interface {
	Observe(ctx context.Context, key string) (history.Holder, error)
}

// Witness is implemented by clients whose service knows connections. Peers lists, as
// address:port, those of which one is the holder's. recent: they are all that the service
// heard from within the last second, and the holder's is among them only if it has just
// taken or renewed the lock. It has no side effect.
type Witness interface {
	Peers(ctx context.Context, key string) (peers []string, recent bool, err error)
}

// Surveyor is implemented by drivers that can look at a service of which nobody has
// said yet which locks are in it. It changes nothing there.
type Surveyor interface {
	Survey(ctx context.Context, t Target, o survey.Options) (survey.Survey, error)
}

// Driver opens clients of one backend.
type Driver interface {
	// Name is the word in the plan's lock.backend.
	Name() string
	// Open connects one party. It fails if no endpoint can be reached, if TLS or
	// authentication fails, or if the target's options are unknown.
	Open(ctx context.Context, t Target) (Client, error)
	// Inspect describes the deployment and changes nothing.
	Inspect(ctx context.Context, t Target) (facts.Deployment, error)
}
