package nbd

import (
	"fmt"
	"net"
	"net/url"
	"strings"

	"understudy/internal/dr"
)

// address is where a server listens and what is wanted of it.
type address struct {
	network string // tcp or unix
	addr    string
	host    string // name to check the certificate against
	tls     bool
	export  string
}

// URI returns the URI of an export served on a unix socket.
func URI(socket, export string) string {
	u := url.URL{Scheme: "nbd+unix", Path: "/" + export, RawQuery: url.Values{"socket": {socket}}.Encode()}
	// An empty authority is part of the form: nbd+unix:///export.
	return "nbd+unix://" + u.EscapedPath() + "?" + u.RawQuery
}

// parseURI understands nbd://host[:port]/export, nbd+unix:///export?socket=path and the same with nbds for TLS
// (https://github.com/NetworkBlockDevice/nbd/blob/master/doc/uri.md).
func parseURI(uri string) (address, error) {
	u, err := url.Parse(uri)
	if err != nil {
		return address{}, badURI(fmt.Errorf("parse NBD address: %w", err))
	}
	a := address{export: strings.TrimPrefix(u.Path, "/")}
	scheme := u.Scheme
	if base, ok := strings.CutPrefix(scheme, "nbds"); ok {
		a.tls = true
		scheme = "nbd" + base
	}
	if len(a.export) > maxNameLen {
		return address{}, badURI(fmt.Errorf("NBD address: export name of %d bytes is longer than %d", len(a.export), maxNameLen))
	}
	switch scheme {
	case "nbd", "nbd+tcp":
		a.network, a.host = "tcp", u.Hostname()
		if a.host == "" {
			a.host = "localhost"
		}
		port := u.Port()
		if port == "" {
			port = "10809"
		}
		a.addr = net.JoinHostPort(a.host, port)
	case "nbd+unix":
		a.network, a.addr, a.host = "unix", u.Query().Get("socket"), "localhost"
		if a.addr == "" {
			return address{}, badURI(fmt.Errorf("NBD address %q names no socket", uri))
		}
	default:
		return address{}, badURI(fmt.Errorf("NBD address %q has an unknown scheme", uri))
	}
	return a, nil
}

func badURI(err error) error {
	return dr.WithHint(err, dr.KindInvalid, "use nbd://host:port/export or nbd+unix:///export?socket=/path")
}
