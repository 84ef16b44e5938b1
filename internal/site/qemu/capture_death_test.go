package qemu

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"

	"understudy/internal/site"
)

// mortal is the monitor as a controller sees it that dies: after so many commands nothing comes or goes any more.
type mortal struct {
	l    net.Listener
	left int
	last func(command []byte) bool // says which command is the last; nil: the one that left counts down to
	dead chan struct{}
}

func newMortal(t *testing.T, socket, real string, commands int) *mortal {
	t.Helper()
	return (&mortal{left: commands}).serve(t, socket, real)
}

func (m *mortal) serve(t *testing.T, socket, real string) *mortal {
	t.Helper()
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	m.l, m.dead = l, make(chan struct{})
	go func() {
		defer close(m.dead)
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("unix", real)
			if err != nil {
				t.Error(err)
				return
			}
			if m.forward(in, out) {
				return
			}
		}
	}()
	return m
}

// forward reports whether the controller died. Its last command still arrives, the reply does not.
func (m *mortal) forward(in, out net.Conn) bool {
	defer in.Close()
	defer out.Close()
	go func() { _, _ = io.Copy(in, out) }()
	for r := bufio.NewReader(in); ; {
		line, err := r.ReadBytes('\n')
		if err != nil {
			return false
		}
		m.left--
		if m.last == nil && m.left <= 0 || m.last != nil && m.last(line) {
			_ = m.l.Close()
			_ = in.Close()
			_, _ = out.Write(line)
			// The greeting, the events and the reply: the end of the last shows that the command was carried out.
			_ = out.(*net.UnixConn).CloseWrite()
			_, _ = io.Copy(io.Discard, out)
			return true
		}
		if _, err := out.Write(line); err != nil {
			return false
		}
	}
}

// The controller dies after every single command that it sends to QEMU in a capture and its commit or abort. Whatever
// it leaves, the next controller's capture is right, finds the change tracking whole and leaves nothing.
func TestCaptureControllerDies(t *testing.T) {
	l := newLab(t)
	ids := l.pair("a")
	r := newReplica(l, "a")
	r.cycle(r.content(ids...))
	real := l.socket("a", "qmp")
	step := 11
	if os.Getenv("UNDERSTUDY_TEST_ALL") == "1" {
		step = 1
	}
	captured := 0 // so many commands a capture takes; up to there the outcome makes no difference
	for _, outcome := range []string{"commit", "abort"} {
		for n, done := max(3, captured), false; !done; n += step {
			l.write(ids[n%2], int64(n%4)<<20, fill(byte(n), 4096))
			_ = l.Driver.Close()
			dir := t.TempDir()
			other, err := New(Config{Dir: l.dir, SocketDir: dir, Accel: "tcg"})
			l.must(err)
			m := newMortal(t, filepath.Join(dir, filepath.Base(real)), real, n)
			before := r.last
			req := r.request()
			c, err := other.Capture(l.Context(), req)
			if err == nil {
				if captured == 0 {
					captured = n
				}
				l2 := *l
				l2.Driver = other
				mine := *r
				mine.lab = &l2
				mine.pull(c)
				if outcome == "commit" {
					// The vault has it from here on.
					r.last = req.ID
					err = c.Commit(l.Context())
				} else {
					err = c.Abort(l.Context())
				}
			}
			done = err == nil
			_ = other.Close()
			_ = m.l.Close()
			<-m.dead
			l.reopen()
			if st, err := l.handle("a").status(l.Context()); err != nil || !st.Running {
				t.Fatalf("%s, death after %d commands: guest %+v, %v", outcome, n, st, err)
			}
			l.write(ids[n%2], 3<<20, fill(byte(n+1), 4096))
			full, moved := r.cycle(r.content(ids...))
			if full != nil || moved > 1<<20 {
				t.Errorf("%s, death after %d commands: since %s moved %d, full %v", outcome, n, before, moved, full)
			}
			if done {
				t.Logf("%s: died up to command %d", outcome, n-1)
			}
		}
	}
}

// A context that ends in the middle of a capture leaves no guest standing still and no change forgotten.
func TestCaptureCancelled(t *testing.T) {
	l := newLab(t)
	ids := l.pair("a")
	r := newReplica(l, "a")
	r.cycle(r.content(ids...))
	m := l.handle("a")
	c, err := m.monitor(l.Context())
	l.must(err)
	events, stop := c.Subscribe(16, "STOP")
	defer stop()
	ctx, cancel := context.WithCancelCause(l.Context())
	go func() {
		<-events
		cancel(errors.New("the caller is gone"))
	}()
	l.write(ids[0], 0, fill(1, 4096))
	cp, err := l.Capture(ctx, r.request())
	if err == nil { // it was faster
		l.must(cp.Abort(l.Context()))
	}
	r.clean()
	l.write(ids[0], 1<<20, fill(2, 4096))
	if full, _ := r.cycle(r.content(ids...)); full != nil {
		t.Errorf("full %v", full)
	}
}

var _ site.Driver = (*Driver)(nil)
