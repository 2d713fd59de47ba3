package trail

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/lockaudit/lockaudit/inject"
)

// Who is on whose order something was done, as far as this process can tell.
type Who struct {
	PID int `json:"pid"`
	UID int `json:"uid"`
	// LoginUID is the uid that logged in (pam_loginuid), which su and sudo leave as
	// it is; nil where nobody did.
	LoginUID *uint32 `json:"login_uid,omitempty"`
	SudoUser string  `json:"sudo_user,omitempty"`
	// SSH is the connection's addresses and ports: client, then server.
	SSH string `json:"ssh,omitempty"`
	// Plan and Run are what the auditor says of itself; nothing proves them.
	Plan string `json:"plan,omitempty"`
	Run  string `json:"run,omitempty"`
}

// Caller is who runs this process.
func Caller() Who {
	w := Who{PID: os.Getpid(), UID: os.Getuid(), SudoUser: os.Getenv("SUDO_USER"), SSH: os.Getenv("SSH_CONNECTION")}
	if b, err := os.ReadFile("/proc/self/loginuid"); err == nil {
		if id, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 32); err == nil && uint32(id) != ^uint32(0) {
			login := uint32(id)
			w.LoginUID = &login
		}
	}
	// sudo takes SSH_CONNECTION out of its command's environment, and a guard is
	// started by its agent: the processes above know more, as far as they may be read.
	above, _ := inject.Above()
	for _, pid := range above {
		if w.SSH != "" && w.SudoUser != "" {
			break
		}
		if env, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ"); err == nil {
			for v := range strings.SplitSeq(string(env), "\x00") {
				if s, ok := strings.CutPrefix(v, "SSH_CONNECTION="); ok && w.SSH == "" {
					w.SSH = s
				}
				if s, ok := strings.CutPrefix(v, "SUDO_USER="); ok && w.SudoUser == "" {
					w.SudoUser = s
				}
			}
		}
	}
	return w
}

// String is one line for people.
func (w Who) String() string {
	s := "uid " + strconv.Itoa(w.UID)
	if w.LoginUID != nil && int(*w.LoginUID) != w.UID {
		s += fmt.Sprintf(" (login uid %d)", *w.LoginUID)
	}
	if w.SudoUser != "" {
		s += " by sudo of " + w.SudoUser
	}
	if f := strings.Fields(w.SSH); len(f) > 0 {
		s += " from " + f[0]
	}
	if w.Plan != "" {
		s += ", plan " + w.Plan
	}
	if w.Run != "" {
		s += ", run " + w.Run
	}
	return s
}
