package cli

import (
	"net"
	"slices"
	"testing"
)

func TestTLSWanted(t *testing.T) {
	loopback, every := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2), Port: 7700}, &net.TCPAddr{IP: net.IPv6unspecified, Port: 7700}
	one := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 7700}
	for _, tt := range []struct {
		flags  tlsFlags
		at     *net.TCPAddr
		behind bool
		want   bool
		url    string
	}{
		{tlsFlags{mode: "auto"}, loopback, false, false, "http://127.0.0.2:7700"},
		{tlsFlags{mode: "auto"}, every, false, true, "https://127.0.0.1:7700"},
		{tlsFlags{mode: "auto"}, one, false, true, "https://192.0.2.7:7700"},
		{tlsFlags{mode: "auto"}, one, true, false, "http://192.0.2.7:7700"},
		{tlsFlags{mode: "on"}, one, true, true, "https://192.0.2.7:7700"},
		{tlsFlags{mode: "on"}, loopback, false, true, "https://127.0.0.2:7700"},
		{tlsFlags{mode: "off"}, every, false, false, "http://127.0.0.1:7700"},
		{tlsFlags{mode: "auto", cert: "a", key: "b"}, loopback, false, true, "https://127.0.0.2:7700"},
	} {
		got := tt.flags.wanted(tt.at, tt.behind)
		if url := apiURL(tt.at, got); got != tt.want || url != tt.url {
			t.Errorf("%+v at %s, behind a proxy %v: %v, %s", tt.flags, tt.at, tt.behind, got, url)
		}
	}
}

// TestHosts checks that the certificate has the name of the URL that is written, and those that were given.
func TestHosts(t *testing.T) {
	f := tlsFlags{names: []string{"console.example"}}
	for _, ip := range []net.IP{net.IPv4zero, net.IPv4(192, 0, 2, 7)} {
		names, err := f.hosts(&net.TCPAddr{IP: ip})
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"console.example", "127.0.0.1", "localhost"} {
			if !slices.Contains(names, want) {
				t.Errorf("%s: no %s in %v", ip, want, names)
			}
		}
		if slices.Contains(names, "192.0.2.7") == ip.IsUnspecified() || slices.Contains(names, "0.0.0.0") {
			t.Errorf("%s: %v", ip, names)
		}
	}
}
