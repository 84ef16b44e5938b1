// Package pepsim plays a machine (ERCS) with the privileged endpoint of an Azure Stack Hub for tests: WinRM's HTTP with
// NTLM and sealed messages, WSMan, and a PowerShell session that knows one command, refuses scripts, and fails as told.
package pepsim

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Options of a host.
type Options struct {
	User, Domain, Password string
}

// Play is what a host tells, and how it fails.
type Play struct {
	Status   string // of the update
	Document string // about it; empty: there is none
	Plain    bool   // the status is an object with a Value and not an enumeration
	Piece    int    // bytes of a fragment of PowerShell's messages; 0 for one that holds a message
	Cut      int    // bytes of what one answer carries; 0: one message for each
	Quiet    int    // answers of a command that say that there is nothing yet
	Complain string // an error record of the command, which then has no output
	Fail     string // the command ends with this
	Ask      bool   // the command asks a person
	Deny     bool   // the user may not have a session
	Break    string // the session breaks with this while it opens
	Hang     bool   // the host takes requests and does not answer
	Weak     bool   // it does not offer to seal
	DropAt   int    // the connection is cut at this Receive; 0: never
	Garble   bool   // what it seals is changed on the way
}

// Counts of what a host saw.
type Counts struct {
	Logins, Refused, Opened, Ended int
	Commands                       []string // with the switches
}

// A Host is one machine.
type Host struct {
	Address string // host:port, on loopback

	options Options
	server  *httptest.Server
	life    context.Context // ends with the test

	mu       sync.Mutex
	play     Play
	counts   Counts
	shells   map[string]*shell
	receives int
}

type connKey struct{}

// conn is what belongs to one connection.
type conn struct {
	net   net.Conn
	login login
	seal  *seal
}

// Start starts a host, which ends with the test.
func Start(t testing.TB, o Options, p Play) *Host {
	t.Helper()
	life, end := context.WithCancel(context.Background())
	h := &Host{options: o, play: p, shells: map[string]*shell{}, life: life}
	h.server = httptest.NewUnstartedServer(http.HandlerFunc(h.serve))
	h.server.Config.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		return context.WithValue(ctx, connKey{}, &conn{net: c})
	}
	h.server.Start()
	t.Cleanup(func() {
		end()
		h.server.Close()
	})
	h.Address = h.server.Listener.Addr().String()
	return h
}

// Set changes what the host plays.
func (h *Host) Set(change func(*Play)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	change(&h.play)
}

// Counts returns what the host saw.
func (h *Host) Counts() Counts {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := h.counts
	c.Commands = slices.Clone(c.Commands)
	return c
}

// Stop ends the host, as a restart does: what it was saying is lost. Its address stays free.
func (h *Host) Stop() {
	h.server.CloseClientConnections()
	h.server.Close()
}

func (h *Host) serve(w http.ResponseWriter, r *http.Request) {
	c := r.Context().Value(connKey{}).(*conn)
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	h.mu.Lock()
	play := h.play
	h.mu.Unlock()
	if play.Hang {
		select {
		case <-h.life.Done():
		case <-r.Context().Done():
		}
		return
	}
	if c.seal == nil || r.Header.Get("Authorization") != "" {
		h.authenticate(w, r, c, play)
		return
	}
	plain, ok := c.unpack(body)
	if !ok || !strings.HasPrefix(r.Header.Get("Content-Type"), `multipart/encrypted;protocol="application/HTTP-SPNEGO-session-encrypted"`) {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	status, envelope := h.answer(plain, play)
	if envelope == nil {
		_ = c.net.Close() // in the middle of what was to be said
		return
	}
	if bytes.Contains(envelope, []byte("wsman:TimedOut")) {
		select { // a host waits for something to say; this one not for long
		case <-time.After(20 * time.Millisecond):
		case <-h.life.Done():
		}
	}
	w.Header().Set("Content-Type", `multipart/encrypted;protocol="application/HTTP-SPNEGO-session-encrypted";boundary="Encrypted Boundary"`)
	w.WriteHeader(status)
	packed := c.pack(envelope)
	if play.Garble {
		packed[len(packed)-40] ^= 1
	}
	_, _ = w.Write(packed) // the client may be gone
}

// authenticate does one step of a login, which belongs to the connection.
func (h *Host) authenticate(w http.ResponseWriter, r *http.Request, c *conn, play Play) {
	h.mu.Lock()
	defer h.mu.Unlock()
	text, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Negotiate ")
	token, err := base64.StdEncoding.DecodeString(text)
	if err == nil && len(token) > 8 && token[8] == 1 {
		flags := uint32(offered)
		if play.Weak {
			flags &^= flagSeal
		}
		if challenge, err := c.login.begin(token, flags); err == nil {
			w.Header().Set("WWW-Authenticate", "Negotiate "+base64.StdEncoding.EncodeToString(challenge))
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
	}
	if seal, ok := c.login.finish(token, h.options.User, h.options.Domain, h.options.Password); ok {
		h.counts.Logins++
		c.seal = seal
		return
	}
	if len(token) > 8 {
		h.counts.Refused++
	}
	w.Header().Set("WWW-Authenticate", "Negotiate")
	w.WriteHeader(http.StatusUnauthorized)
}

const boundary = "--Encrypted Boundary"

// unpack opens what came in the form of [MS-WSMV] 2.2.9.1.1.2.
func (c *conn) unpack(body []byte) ([]byte, bool) {
	head, rest, ok := bytes.Cut(body, []byte("\tContent-Type: application/octet-stream\r\n"))
	_, text, told := bytes.Cut(head, []byte(";Length="))
	digits, _, _ := bytes.Cut(text, []byte("\r\n"))
	length, err := strconv.Atoi(string(digits))
	if !ok || !told || err != nil || !bytes.HasPrefix(head, []byte(boundary+"\r\n\tContent-Type: application/HTTP-SPNEGO-session-encrypted\r\n\tOriginalContent: type=application/soap+xml;charset=UTF-8;")) {
		return nil, false
	}
	if len(rest) < 20 || binary.LittleEndian.Uint32(rest) != 16 || string(rest[20+min(length, len(rest)-20):]) != boundary+"--\r\n" {
		return nil, false
	}
	return c.seal.open(rest[4:20], rest[20:20+length])
}

func (c *conn) pack(plain []byte) []byte {
	signature, sealed := c.seal.close(plain)
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s\r\n\tContent-Type: application/HTTP-SPNEGO-session-encrypted\r\n\tOriginalContent: type=application/soap+xml;charset=UTF-8;Length=%d\r\n", boundary, len(plain))
	fmt.Fprintf(&b, "%s\r\n\tContent-Type: application/octet-stream\r\n", boundary)
	b.Write([]byte{16, 0, 0, 0})
	b.Write(signature)
	b.Write(sealed)
	b.WriteString(boundary + "--\r\n")
	return b.Bytes()
}
