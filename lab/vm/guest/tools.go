package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// tools are the commands of the machine: this program under other names.
var tools = map[string]func(args []string) error{
	"sleep": sleep,
	"cat":   cat,
	"true":  func([]string) error { return nil },
	"false": func([]string) error { return errors.New("false") },
	"write": write,
	"get":   get,
	// The parent of an ordered program is the server: a machine that hangs.
	"stop-parent": func([]string) error { return unix.Kill(unix.Getppid(), unix.SIGSTOP) },
}

func sleep(args []string) error {
	if len(args) != 1 {
		return errors.New("usage: sleep SECONDS")
	}
	d, err := time.ParseDuration(strings.TrimSuffix(args[0], "s") + "s")
	if err != nil {
		return err
	}
	time.Sleep(d)
	return nil
}

func cat(args []string) error {
	if len(args) == 0 {
		_, err := io.Copy(os.Stdout, os.Stdin)
		return err
	}
	for _, name := range args {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		_, err = io.Copy(os.Stdout, f)
		f.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// write FILE TEXT [COUNT] writes a file to the disk itself.
func write(args []string) error {
	if len(args) < 2 {
		return errors.New("usage: write FILE TEXT [COUNT]")
	}
	count := 1
	if len(args) > 2 {
		var err error
		if count, err = strconv.Atoi(args[2]); err != nil {
			return err
		}
	}
	f, err := os.OpenFile(args[0], os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	if _, err = fmt.Fprint(f, strings.Repeat(args[1], count)); err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// get ADDRESS PATH prints what an HTTP server answers, and fails unless that is 200.
func get(args []string) error {
	if len(args) != 2 {
		return errors.New("usage: get ADDRESS PATH")
	}
	c, err := net.DialTimeout("tcp", args[0], 2*time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := fmt.Fprintf(c, "GET %s HTTP/1.0\r\nHost: %s\r\n\r\n", args[1], args[0]); err != nil {
		return err
	}
	r := bufio.NewReader(c)
	status, err := r.ReadString('\n')
	if err != nil {
		return err
	}
	if f := strings.Fields(status); len(f) < 2 || f[1] != "200" {
		return errors.New(strings.TrimSpace(status))
	}
	_, err = io.Copy(os.Stdout, r)
	return err
}
