package inject

import (
	"fmt"
	"testing"
)

func TestParseTCP(t *testing.T) {
	const rest = " 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 20 4 30 10 -1"
	for line, want := range map[string]string{
		"   1: 0201630A:1F90 0101630A:D431 01" + rest:                                                      "10.99.1.1:54321 8080 4711",
		"   1: 00000000000000000000000002000000:0016 000099FD000000000000000001000000:D431 01" + rest:      "[fd99::1]:54321 22 4711",
		"   1: 0000000000000000FFFF00000201630A:0016 0000000000000000FFFF00000101630A:D431 01" + rest:      "10.99.1.1:54321 22 4711",
		"   1: 0201630A:1F90 00000000:0000 0A" + rest:                                                      "", // listens
		"   1: 0100007F:1F90 0100007F:D431 01" + rest:                                                      "", // with itself
		"  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode": "",
		"   1: 0201630A:1F90":                   "",
		"   1: zz:1F90 0101630A:D431 01" + rest: "",
	} {
		got := ""
		if c, inode, ok := parseTCP(line); ok {
			got = fmt.Sprintf("%v %d %s", c.Client, c.Local, inode)
		}
		if got != want {
			t.Errorf("%s: %q, want %q", line, got, want)
		}
	}
}
