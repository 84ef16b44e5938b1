package lanswitch

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// card is a network card plugged into the switch under test.
type card struct {
	t    *testing.T
	conn net.Conn
	addr mac
}

func plug(t *testing.T, s *Switch, last byte) *card {
	t.Helper()
	a, b := net.Pipe()
	n, changed := s.Ports()
	go s.Serve(b)
	for now := n; now == n; now, changed = s.Ports() {
		<-changed
	}
	t.Cleanup(func() { _ = a.Close() })
	return &card{t: t, conn: a, addr: mac{0x52, 0x54, 0, 0, 0, last}}
}

func (c *card) send(to mac, payload string) {
	c.t.Helper()
	frame := append(append(append([]byte{}, to[:]...), c.addr[:]...), 8, 0)
	frame = append(frame, payload...)
	_ = c.conn.SetWriteDeadline(time.Now().Add(5 * time.Second))
	if _, err := c.conn.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(frame))), frame...)); err != nil {
		c.t.Fatal(err)
	}
}

func (c *card) want(payload string) {
	c.t.Helper()
	_ = c.conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	var head [4]byte
	if _, err := io.ReadFull(c.conn, head[:]); err != nil {
		c.t.Fatalf("want %q: %v", payload, err)
	}
	frame := make([]byte, binary.BigEndian.Uint32(head[:]))
	if _, err := io.ReadFull(c.conn, frame); err != nil {
		c.t.Fatal(err)
	}
	if got := frame[minFrame:]; !bytes.Equal(got, []byte(payload)) {
		c.t.Fatalf("got %q, want %q", got, payload)
	}
}

var everyone = mac{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

func TestLearning(t *testing.T) {
	s := &Switch{}
	a, b, c := plug(t, s, 1), plug(t, s, 2), plug(t, s, 3)
	a.send(b.addr, "unknown")
	b.want("unknown")
	c.want("unknown")
	b.send(a.addr, "known")
	a.want("known")
	a.send(b.addr, "known too")
	b.want("known too")
	// c got neither: the next it sees is the broadcast.
	b.send(everyone, "all")
	a.want("all")
	c.want("all")
}

func TestPortGone(t *testing.T) {
	s := &Switch{}
	a, b, c := plug(t, s, 1), plug(t, s, 2), plug(t, s, 3)
	b.send(everyone, "here")
	a.want("here")
	c.want("here")
	_, changed := s.Ports()
	_ = b.conn.Close()
	<-changed
	a.send(b.addr, "where")
	c.want("where")
}

// TestSlowPort: a port that never reads loses frames and does not hold up the others.
func TestSlowPort(t *testing.T) {
	s := &Switch{}
	a, b := plug(t, s, 1), plug(t, s, 2)
	plug(t, s, 3)
	for range queueLen * 2 {
		a.send(everyone, "x")
		b.want("x")
	}
}

func TestHugeFrame(t *testing.T) {
	s := &Switch{}
	a := plug(t, s, 1)
	_, changed := s.Ports()
	if _, err := a.conn.Write([]byte{0xff, 0, 0, 0}); err != nil {
		t.Fatal(err)
	}
	<-changed
	if n, _ := s.Ports(); n != 0 {
		t.Errorf("%d ports", n)
	}
}

func TestRunEndsWithoutPorts(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	s := &Switch{}
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.run(context.Background(), l, socket) }()
	n, changed := s.Ports()
	for n == 0 {
		<-changed
		n, changed = s.Ports()
	}
	_ = conn.Close()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{socket, socket + ".old"} {
		if _, err := os.Stat(path); err == nil {
			t.Errorf("%s is left", path)
		}
	}
}

func TestOwn(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	unlock, err := own(context.Background(), socket)
	if err != nil || unlock == nil {
		t.Fatalf("first: %v", err)
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	if second, err := own(context.Background(), socket); err != nil || second != nil {
		t.Errorf("beside a switch that answers: %v", err)
	}
	_ = l.Close()
	unlock()
	if third, err := own(context.Background(), socket); err != nil || third == nil {
		t.Errorf("after it: %v", err)
	}
}
