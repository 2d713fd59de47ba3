// Package target finds the process that a person means: by its pid, name, command
// line, pid file, systemd unit, container or listening port.
//
// A fault hits somebody's production process, so nothing is guessed: a selector
// that fits several is refused, with the candidates, and one that fits none is an
// error.
package target

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"unicode"

	"github.com/lockaudit/lockaudit/inject"
)

// Selector names a process in exactly one way.
type Selector struct {
	// PID and, so that a reused number is not mistaken for it, StartTime, which is
	// /proc/PID/stat field 22. If StartTime is 0, whatever runs under PID now is meant.
	PID       int    `json:"pid,omitempty"`
	StartTime uint64 `json:"start_time,omitempty"`
	// Name is the command name, as ps -e shows it: redis-server.
	Name string `json:"name,omitempty"`
	// Cmdline is the exact command line.
	Cmdline Cmdline `json:"cmdline,omitzero"`
	// PIDFile is the absolute path of a file whose first line is the pid.
	PIDFile string `json:"pid_file,omitempty"`
	// Unit is a systemd service or scope of the system manager; ".service" may be
	// left out.
	Unit string `json:"unit,omitempty"`
	// Container is an id, or a unique beginning of one, of docker, containerd,
	// podman or cri-o.
	Container string `json:"container,omitempty"`
	// Port is what the process listens on, by Proto (tcp, udp; default: either), in
	// the network namespace at the path Netns (default: this process's).
	Port  int    `json:"port,omitempty"`
	Proto string `json:"proto,omitempty"`
	Netns string `json:"netns,omitempty"`
	// Socket is the local end, address:port, of a TCP connection that the process has.
	Socket string `json:"socket,omitempty"`
}

// Cmdline is an exact command line: in JSON a string, which is compared with the
// arguments joined by blanks, or a list of the arguments.
type Cmdline struct {
	Joined string
	Args   []string
}

// IsZero reports that no command line is given.
func (c Cmdline) IsZero() bool { return c.Joined == "" && len(c.Args) == 0 }

// UnmarshalJSON takes both forms.
func (c *Cmdline) UnmarshalJSON(b []byte) error {
	*c = Cmdline{}
	if len(b) > 0 && b[0] == '[' {
		return json.Unmarshal(b, &c.Args)
	}
	return json.Unmarshal(b, &c.Joined)
}

// MarshalJSON writes the form that was read.
func (c Cmdline) MarshalJSON() ([]byte, error) {
	if c.Args != nil {
		return json.Marshal(c.Args)
	}
	return json.Marshal(c.Joined)
}

func (c Cmdline) matches(args []string) bool {
	if len(args) == 0 {
		return false // a kernel thread
	}
	if c.Joined != "" {
		return strings.Join(args, " ") == c.Joined
	}
	if len(c.Args) != len(args) {
		return false
	}
	for i := range args {
		if args[i] != c.Args[i] {
			return false
		}
	}
	return true
}

func (c Cmdline) String() string {
	if c.Joined != "" {
		return c.Joined
	}
	return strings.Join(c.Args, " ")
}

// IsZero reports that nothing is selected.
func (s Selector) IsZero() bool {
	return len(s.ways()) == 0 && s.StartTime == 0 && s.Proto == "" && s.Netns == ""
}

// ways lists the ways in which s names a process.
func (s Selector) ways() []string {
	var out []string
	for _, w := range []struct {
		name string
		set  bool
	}{
		{"pid", s.PID != 0}, {"name", s.Name != ""}, {"cmdline", !s.Cmdline.IsZero()}, {"pid_file", s.PIDFile != ""},
		{"unit", s.Unit != ""}, {"container", s.Container != ""}, {"port", s.Port != 0}, {"socket", s.Socket != ""},
	} {
		if w.set {
			out = append(out, w.name)
		}
	}
	return out
}

// String says it as people do: unit redis.service.
func (s Selector) String() string {
	switch {
	case s.PID != 0:
		return fmt.Sprintf("process %d", s.PID)
	case s.Name != "":
		return "name " + s.Name
	case !s.Cmdline.IsZero():
		return fmt.Sprintf("command line %q", s.Cmdline)
	case s.PIDFile != "":
		return "pid file " + s.PIDFile
	case s.Unit != "":
		return "unit " + unitName(s.Unit)
	case s.Container != "":
		return "container " + s.Container
	case s.Port != 0 && s.Netns != "":
		return fmt.Sprintf("%s port %d in %s", orDefault(s.Proto, "tcp or udp"), s.Port, s.Netns)
	case s.Port != 0:
		return fmt.Sprintf("%s port %d", orDefault(s.Proto, "tcp or udp"), s.Port)
	case s.Socket != "":
		return "connection from " + s.Socket
	}
	return "nothing"
}

func orDefault(s, d string) string {
	if s == "" {
		return d
	}
	return s
}

// Names come from outside: a unit becomes part of a D-Bus path, a container is
// compared with parts of cgroup paths.
var (
	validUnit      = inject.Pattern(`^[A-Za-z0-9:_.\\@-]+\.(service|scope)$`)
	validContainer = inject.Pattern(`^[0-9a-f]{4,64}$`)
)

// unitName adds ".service" where no type is given, as systemctl does.
func unitName(s string) string {
	switch s[strings.LastIndexByte(s, '.')+1:] {
	case "service", "scope", "slice", "socket", "target", "timer", "mount", "automount", "swap", "path", "device":
		return s
	}
	return s + ".service"
}

// maxText bounds a name; the kernel bounds what it shows of a command line at one
// page less.
const maxText = 1 << 20

// Validate refuses a selector that names nothing, several things, or something
// impossible. It looks at nothing but s.
func (s Selector) Validate() error {
	switch ways := s.ways(); {
	case len(ways) == 0:
		return errors.New("select process: nothing is named; one of pid, name, cmdline, pid_file, unit, container, port, socket is needed")
	case len(ways) > 1:
		return fmt.Errorf("select process: %s are given, exactly one is needed", strings.Join(ways, " and "))
	}
	bad := func(what string, v any, want string) error {
		return fmt.Errorf("select process: %s is %.60q, not %s", what, fmt.Sprint(v), want)
	}
	switch {
	case s.PID < 0 || s.PID > 1<<22:
		return bad("pid", s.PID, "a process id")
	case s.StartTime != 0 && s.PID == 0:
		return errors.New("select process: start_time belongs to pid")
	case s.Name != "" && (len(s.Name) > 255 || strings.ContainsFunc(s.Name, unprintable) || strings.Contains(s.Name, "/")):
		return bad("name", s.Name, "a command name as ps -e shows it")
	case len(s.Cmdline.String()) > maxText || strings.Contains(s.Cmdline.String(), "\x00"):
		return bad("cmdline", s.Cmdline, "a command line")
	case s.PIDFile != "" && (!filepath.IsAbs(s.PIDFile) || strings.Contains(s.PIDFile, "\x00")):
		return bad("pid_file", s.PIDFile, "an absolute path")
	case s.Unit != "" && (len(unitName(s.Unit)) > 255 || !validUnit().MatchString(unitName(s.Unit))):
		return bad("unit", s.Unit, "the name of a service or scope")
	case s.Container != "" && !validContainer().MatchString(s.Container):
		return bad("container", s.Container, "a container's id or at least 4 digits of its beginning")
	case s.Port < 0 || s.Port > 65535:
		return bad("port", s.Port, "one of 1 to 65535")
	case s.Port == 0 && (s.Proto != "" || s.Netns != ""):
		return errors.New("select process: proto and netns belong to port")
	case s.Proto != "" && s.Proto != "tcp" && s.Proto != "udp":
		return bad("proto", s.Proto, "tcp or udp")
	case s.Socket != "" && !isAddrPort(s.Socket):
		return bad("socket", s.Socket, "address:port")
	case s.Netns != "" && (!filepath.IsAbs(s.Netns) || strings.Contains(s.Netns, "\x00")):
		return bad("netns", s.Netns, "an absolute path")
	}
	return nil
}

func isAddrPort(s string) bool { _, err := netip.ParseAddrPort(s); return err == nil }

func unprintable(r rune) bool { return !unicode.IsPrint(r) }

// Parse decodes a selector strictly and validates it.
func Parse(b []byte) (Selector, error) {
	var s Selector
	if err := inject.DecodeStrict(b, &s); err != nil {
		return Selector{}, fmt.Errorf("select process: %w", err)
	}
	return s, s.Validate()
}
