package vm

import (
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
)

// Net is a cable between machines: datagrams to a multicast address on the loopback
// interface of this one. The zero value is none.
type Net struct{ group, port int }

// NewNet is a cable that no other test is on, as far as chance goes: 2^28 of them.
func NewNet() Net { return Net{1 + rand.IntN(1<<14), 32768 + rand.IntN(1<<14)} }

func (n Net) arguments(ip string) []string {
	mac := sha256.Sum256([]byte(ip))
	return []string{
		"-netdev", fmt.Sprintf("socket,id=cable,mcast=239.255.%d.%d:%d,localaddr=127.0.0.1", n.group>>7&0xff, n.group&0x7f+1, n.port),
		"-device", fmt.Sprintf("virtio-net-pci,netdev=cable,mac=52:54:00:%02x:%02x:%02x", mac[0], mac[1], mac[2]),
	}
}
