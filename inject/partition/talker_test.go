package partition_test

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"time"
)

// talker tells a copy of this test binary to send what it is told on its stdin.
const talker = "PARTITION_TEST_TALKER"

// talkLimit is how long it waits for an answer that is not to come.
const talkLimit = 300 * time.Millisecond

func talk() {
	var open net.Conn
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		f := strings.Fields(in.Text())
		answer := func(ok bool) {
			if ok {
				fmt.Println("yes")
			} else {
				fmt.Println("no")
			}
		}
		switch f[0] {
		case "ping": // by a new socket
			answer(roundTripTo(f[1], f[2], talkLimit) == nil)
		case "reach": // the same, and the answer is to come
			answer(roundTripTo(f[1], f[2], hang) == nil)
		case "open":
			if open != nil {
				_ = open.Close()
			}
			var err error
			open, err = net.Dial(f[1], f[2])
			answer(err == nil && roundTrip(open, hang))
		case "again": // by the socket that is open
			answer(roundTrip(open, talkLimit))
		case "still":
			answer(roundTrip(open, hang))
		case "listen":
			l, err := net.Listen(f[1], f[2])
			if err != nil {
				fmt.Println(err)
				continue
			}
			go func() {
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					go func() {
						b := make([]byte, 16)
						for n, err := c.Read(b); err == nil; n, err = c.Read(b) {
							_, _ = c.Write(b[:n])
						}
					}()
				}
			}()
			fmt.Println(l.Addr())
		case "fork":
			child := exec.Command("cat") // ends with our stdin's other end
			stdin, err := child.StdinPipe()
			_ = stdin
			answer(err == nil && child.Start() == nil)
		}
	}
}

func roundTripTo(network, addr string, d time.Duration) error {
	c, err := net.DialTimeout(network, addr, d)
	if err != nil {
		return err
	}
	defer c.Close()
	if !roundTrip(c, d) {
		return os.ErrDeadlineExceeded
	}
	return nil
}
