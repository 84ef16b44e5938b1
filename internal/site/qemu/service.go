package qemu

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// ServiceAddress is where guests find the services of their site: an address of QEMU's user network that leads nowhere
// else. A NIC with forwards is on that network.
const ServiceAddress = "10.0.2.100"

// A Service is a TCP server on this host that the site's guests may reach at ServiceAddress, and nothing else of the
// host. Guests in isolation do not.
type Service struct {
	Name      string // for people
	GuestPort int
	Address   string // of the server: a loopback address and port
}

// ParseService reads a service's setting, PORT=ADDRESS:PORT.
func ParseService(name, setting string) (Service, error) {
	port, address, ok := strings.Cut(setting, "=")
	s := Service{Name: name, Address: address}
	var err error
	if s.GuestPort, err = strconv.Atoi(port); !ok || err != nil || s.GuestPort < 1 || s.GuestPort > 65535 {
		return s, fmt.Errorf("%q does not begin with a TCP port and '='", setting)
	}
	a, err := netip.ParseAddrPort(address)
	if err != nil || !a.Addr().IsLoopback() || a.Port() == 0 {
		return s, fmt.Errorf("%q is no port of the loopback address", address)
	}
	return s, nil
}

// guestForwards are the options of a user network that let a guest reach the services: for each connection QEMU runs a
// program that makes one to the server.
func (l launch) guestForwards() string {
	if l.def.Isolation != "" {
		return ""
	}
	var b strings.Builder
	for _, s := range l.services {
		var words []string
		for _, w := range append(append([]string{}, l.connect...), s.Address) {
			words = append(words, "'"+strings.ReplaceAll(w, "'", `'\''`)+"'")
		}
		at := net.JoinHostPort(ServiceAddress, strconv.Itoa(s.GuestPort))
		fmt.Fprintf(&b, ",guestfwd=tcp:%s-cmd:%s", at, comma(strings.Join(words, " ")))
	}
	return b.String()
}
