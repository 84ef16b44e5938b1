package nbd_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"understudy/internal/dr"
	"understudy/internal/nbd"
)

// pattern is a read-only device: bytes that depend on their place, with a hole in every other MiB and at the end.
type pattern struct {
	size    int64
	entered chan struct{} // when set, told of every read, which then waits for release
	release chan struct{}
	broken  int64 // when set, reads of this byte fail
}

func (d *pattern) Size() int64 { return d.size }

func (d *pattern) hole(off int64) bool { return off>>20&1 == 1 }

func (d *pattern) ReadAt(p []byte, off int64) (int, error) {
	if d.entered != nil {
		d.entered <- struct{}{}
		<-d.release
	}
	if d.broken > 0 && off <= d.broken && d.broken < off+int64(len(p)) {
		return 0, syscall.EIO
	}
	for i := range p {
		at := off + int64(i)
		if at >= d.size {
			return i, io.EOF
		}
		p[i] = byte(at>>8 ^ at>>16 ^ at)
		if d.hole(at) {
			p[i] = 0
		}
	}
	return len(p), nil
}

func (d *pattern) Extents(off, n int64) []dr.Extent {
	var out []dr.Extent
	for end := off + n; off < end; {
		next := min((off>>20+1)<<20, end)
		out = append(out, dr.Extent{Offset: off, Length: next - off, Zero: d.hole(off)})
		off = next
	}
	return out
}

func (d *pattern) bytes() []byte {
	b := make([]byte, d.size)
	if _, err := (&pattern{size: d.size}).ReadAt(b, 0); err != nil {
		panic(err)
	}
	return b
}

// serve serves exports on a unix socket until the test ends, and checks that nothing is left of it then.
func serve(t testing.TB, o nbd.ServerOptions, exports ...nbd.Export) (*nbd.Server, string) {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	s := nbd.NewServer(o)
	for _, e := range exports {
		if err := s.Add(e); err != nil {
			t.Fatal(err)
		}
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(context.Background(), l) }()
	t.Cleanup(func() {
		s.Close()
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return s, socket
}

func TestReadOnlyExport(t *testing.T) {
	d := &pattern{size: 9<<20 + 777}
	_, socket := serve(t, nbd.ServerOptions{}, nbd.Export{Name: "d/é x", Device: d})
	c := dial(t, nbd.URI(socket, "d/é x"), nbd.DialOptions{MetaContexts: []string{nbd.MetaAllocation}, Connections: 2})
	if c.Size() != d.size || !c.ReadOnly() || c.Connections() != 2 {
		t.Fatalf("size %d, read-only %v, connections %d", c.Size(), c.ReadOnly(), c.Connections())
	}
	want := d.bytes()
	for _, r := range [][2]int64{{0, d.size}, {1, 1}, {1<<20 - 3, 7}, {1<<20 + 5, 100000}, {d.size - 1, 1}, {4095, 5 << 20}} {
		got := make([]byte, r[1])
		for i := range got {
			got[i] = 0xee
		}
		if _, err := c.ReadAt(got, r[0]); err != nil || !bytes.Equal(got, want[r[0]:r[0]+r[1]]) {
			t.Errorf("read %d at %d: %v, equal %v", r[1], r[0], err, bytes.Equal(got, want[r[0]:r[0]+r[1]]))
		}
	}
	x, err := c.Extents(t.Context(), 100, d.size-100)
	if err != nil || !slices.Equal(x, d.Extents(100, d.size-100)) {
		t.Errorf("extents %v, %v", x, err)
	}
	for name, err := range map[string]error{
		"write": second(c.WriteAt(want[:10], 0)),
		"zero":  c.Zero(0, 10),
	} {
		if !errors.Is(err, syscall.EPERM) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := c.WriteAt(want[:10], d.size-5); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("write beyond the end: %v", err)
	}
	if err := c.Flush(); err != nil {
		t.Errorf("flush: %v", err)
	}
}

func second[A any](_ A, err error) error { return err }

func TestDialErrors(t *testing.T) {
	_, socket := serve(t, nbd.ServerOptions{}, nbd.Export{Name: "a", Device: &pattern{size: 1}}, nbd.Export{Name: "b", Device: &pattern{}})
	names, err := nbd.List(t.Context(), nbd.URI(socket, ""), nbd.DialOptions{})
	if err != nil || !slices.Equal(names, []string{"a", "b"}) {
		t.Errorf("list: %q, %v", names, err)
	}
	for uri, kind := range map[string]dr.Kind{
		nbd.URI(socket, "c"):              dr.KindNotFound,
		nbd.URI(socket+"x", "a"):          dr.KindUnavailable,
		"nbds+unix:///a?socket=" + socket: dr.KindUnavailable,
		"http://localhost/":               dr.KindInvalid,
		"nbd+unix:///a":                   dr.KindInvalid,
	} {
		c, err := nbd.Dial(t.Context(), uri, nbd.DialOptions{})
		if err == nil {
			c.Close()
		}
		if err == nil || dr.KindOf(err) != kind {
			t.Errorf("%s: %v (%s), want %s", uri, err, dr.KindOf(err), kind)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := nbd.Dial(ctx, nbd.URI(socket, "a"), nbd.DialOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestDeviceErrorKeepsConnection(t *testing.T) {
	d := &pattern{size: 4 << 20, broken: 2<<20 + 5}
	_, socket := serve(t, nbd.ServerOptions{}, nbd.Export{Device: d})
	c := dial(t, nbd.URI(socket, ""), nbd.DialOptions{})
	p := make([]byte, d.size)
	if _, err := c.ReadAt(p, 0); !errors.Is(err, syscall.EIO) {
		t.Errorf("read of a broken device: %v", err)
	}
	if _, err := c.ReadAt(p[:10], 0); err != nil {
		t.Errorf("read after it: %v", err)
	}
}

func TestRemoveWaitsForRequests(t *testing.T) {
	d := &pattern{size: 1 << 20, entered: make(chan struct{}), release: make(chan struct{})}
	s, socket := serve(t, nbd.ServerOptions{}, nbd.Export{Name: "d", Device: d}, nbd.Export{Name: "other", Device: &pattern{size: 1 << 20}})
	c := dial(t, nbd.URI(socket, "d"), nbd.DialOptions{})
	other := dial(t, nbd.URI(socket, "other"), nbd.DialOptions{})
	got := make(chan error, 1)
	p := make([]byte, 1000)
	go func() { got <- second(c.ReadAt(p, 5000)) }()
	<-d.entered
	removed := make(chan struct{})
	go func() { s.Remove("d"); close(removed) }()
	// The name is free at once, while the request is still under way.
	for {
		names, err := nbd.List(t.Context(), nbd.URI(socket, ""), nbd.DialOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if len(names) == 1 {
			break
		}
	}
	select {
	case <-removed:
		t.Fatal("removed with a request under way")
	default:
	}
	close(d.release)
	<-removed
	if err := <-got; err != nil || !bytes.Equal(p, d.bytes()[5000:6000]) {
		t.Errorf("request under way: %v", err)
	}
	if _, err := c.ReadAt(p, 0); err == nil {
		t.Error("read of a removed export succeeded")
	}
	if _, err := other.ReadAt(p, 0); err != nil {
		t.Errorf("other export: %v", err)
	}
	s.Remove("d")
}

func TestCancelledReadLeavesBufferAlone(t *testing.T) {
	d := &pattern{size: 1 << 20, entered: make(chan struct{}), release: make(chan struct{})}
	_, socket := serve(t, nbd.ServerOptions{}, nbd.Export{Device: d})
	c := dial(t, nbd.URI(socket, ""), nbd.DialOptions{})
	ctx, cancel := context.WithCancel(t.Context())
	p := make([]byte, 1000)
	got := make(chan error, 1)
	go func() { got <- second(c.ReadContext(ctx, p, 0)) }()
	<-d.entered
	cancel()
	if err := <-got; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	go func() { <-d.entered }()
	close(d.release)
	q := make([]byte, 1000)
	if _, err := c.ReadAt(q, 0); err != nil || !bytes.Equal(q, d.bytes()[:1000]) {
		t.Errorf("read after a cancelled one: %v", err)
	}
	if !bytes.Equal(p, make([]byte, 1000)) {
		t.Error("the buffer of a cancelled read was written to")
	}
}

func TestDeadConnectionWakesAll(t *testing.T) {
	d := &pattern{size: 1 << 20, entered: make(chan struct{}, 100), release: make(chan struct{})}
	_, socket := serve(t, nbd.ServerOptions{}, nbd.Export{Device: d})
	// A proxy whose connections the test can cut.
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "p"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	cut := make(chan struct{})
	var proxy sync.WaitGroup
	proxy.Go(func() {
		in, err := l.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("unix", socket)
		if err != nil {
			t.Error(err)
			return
		}
		proxy.Go(func() { io.Copy(out, in) })
		proxy.Go(func() { io.Copy(in, out) })
		<-cut
		in.Close()
		out.Close()
	})
	c := dial(t, nbd.URI(l.Addr().String(), ""), nbd.DialOptions{})
	errs := make(chan error)
	for range 5 {
		go func() { errs <- second(c.ReadAt(make([]byte, 10), 0)) }()
	}
	for range 5 {
		<-d.entered
	}
	close(cut)
	for range 5 {
		if err := <-errs; err == nil || errors.Is(err, io.EOF) {
			t.Errorf("read over a dead connection: %v", err)
		}
	}
	if err := c.Flush(); err == nil {
		t.Error("flush over a dead connection succeeded")
	}
	close(d.release)
	proxy.Wait()
}

func TestHostileClientsLeakNothing(t *testing.T) {
	s, socket := serve(t, nbd.ServerOptions{Handshake: 100 * time.Millisecond, Stall: 5 * time.Second, Drain: 100 * time.Millisecond}, nbd.Export{Device: &pattern{size: 64 << 20}})
	hello := "\x00\x00\x00\x03"
	option := func(n int, data string) string {
		return fmt.Sprintf("IHAVEOPT\x00\x00\x00%c", n) + string([]byte{byte(len(data) >> 24), byte(len(data) >> 16), byte(len(data) >> 8), byte(len(data))}) + data
	}
	request := func(cmd byte, n string) string {
		return "\x25\x60\x95\x13\x00\x00\x00" + string(cmd) + "12345678" + "\x00\x00\x00\x00\x00\x00\x00\x00" + n
	}
	open := hello + option(7, "\x00\x00\x00\x00\x00\x00")
	for _, say := range []string{
		"", "GET / HTTP/1.1\r\n\r\n", hello, hello + "IHAVEOPT", "\xff\xff\xff\xff",
		hello + "IHAVEOPT\x00\x00\x00\x01\xff\xff\xff\xff",
		hello + "IHAVEOPT\x00\x00\x00\x03\x00\x0f\xff\xff" + "abc",
		hello + option(1, "nothing"), hello + option(2, ""), hello + option(5, ""),
		open, open + "garbage that is long enough for a request",
		open + request(0, "\x02\x00\x00\x00"),                       // a read whose answer nobody takes
		open + request(1, "\x02\x00\x00\x00"),                       // a write without its data
		open + request(1, "\xff\xff\xff\xff") + "a little",          // a write much too long
		open + request(2, "\x00\x00\x00\x00") + "after the goodbye", //
		open + request(9, "\x00\x00\x00\x00") + request(0, "\x00\x00\x10\x00"),
	} {
		conn, err := net.Dial("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		// The server may have hung up.
		_, _ = io.WriteString(conn, say)
		defer conn.Close()
	}
	c := dial(t, nbd.URI(socket, ""), nbd.DialOptions{})
	if _, err := c.ReadAt(make([]byte, 40<<20), 0); err != nil {
		t.Error(err)
	}
	c.Close()
	s.Close() // waits for every connection
	buf := make([]byte, 1<<20)
	if stacks := buf[:runtime.Stack(buf, true)]; bytes.Contains(stacks, []byte("serverConn")) {
		t.Errorf("server goroutines left:\n%s", stacks)
	}
}
