package qmp

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"understudy/test/need"
)

const greeting = `{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": ""}, "capabilities": ["oob"]}}`

type request struct {
	Execute   string          `json:"execute"`
	Arguments json.RawMessage `json:"arguments"`
	ID        uint64          `json:"id"`
}

// fake serves one connection: it greets, accepts the capabilities, and hands every later command to handle.
func fake(t *testing.T, handle func(conn net.Conn, r request)) string {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "m")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		t.Cleanup(func() { _ = conn.Close() })
		fmt.Fprintf(conn, "%s\r\n", greeting)
		s := bufio.NewScanner(conn)
		for s.Scan() {
			var r request
			if err := json.Unmarshal(s.Bytes(), &r); err != nil {
				t.Errorf("client sent %q: %v", s.Text(), err)
				return
			}
			if r.Execute == "qmp_capabilities" {
				fmt.Fprintf(conn, "{\"return\": {}, \"id\": %d}\r\n", r.ID)
				continue
			}
			handle(conn, r)
		}
	}()
	return socket
}

func dial(t *testing.T, socket string) *Client {
	t.Helper()
	c, err := Dial(t.Context(), socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestRun(t *testing.T) {
	c := dial(t, fake(t, func(conn net.Conn, r request) {
		switch r.Execute {
		case "echo":
			fmt.Fprintf(conn, "{\"return\": %s, \"id\": %d}\n", r.Arguments, r.ID)
		default:
			fmt.Fprintf(conn, "{\"error\": {\"class\": \"CommandNotFound\", \"desc\": \"no such command\"}, \"id\": %d}\n", r.ID)
		}
	}))
	var out map[string]int
	if err := c.Run(t.Context(), "echo", map[string]int{"a": 1}, &out); err != nil || out["a"] != 1 {
		t.Fatalf("echo: %v, %v", out, err)
	}
	err := c.Run(t.Context(), "unknown", nil, nil)
	var refused *Error
	if !errors.As(err, &refused) || refused.Class != "CommandNotFound" || err.Error() != "unknown: no such command" {
		t.Fatalf("error is %v", err)
	}
	if err := c.Transaction(t.Context()); err != nil {
		t.Fatalf("empty transaction: %v", err)
	}
}

func TestRepliesInAnyOrder(t *testing.T) {
	var mu sync.Mutex
	var held []request
	const n = 16
	c := dial(t, fake(t, func(conn net.Conn, r request) {
		mu.Lock()
		defer mu.Unlock()
		held = append(held, r)
		if len(held) < n {
			return
		}
		for i := n - 1; i >= 0; i-- {
			fmt.Fprintf(conn, "{\"return\": %s, \"id\": %d}\n", held[i].Arguments, held[i].ID)
		}
	}))
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			var out int
			if err := c.Run(t.Context(), "echo", i, &out); err != nil || out != i {
				t.Errorf("echo %d: %d, %v", i, out, err)
			}
		})
	}
	wg.Wait()
}

func TestLateReplyIsDiscarded(t *testing.T) {
	var late request
	c := dial(t, fake(t, func(conn net.Conn, r request) {
		if r.Execute == "slow" {
			late = r
			fmt.Fprintf(conn, "{\"event\": \"GOT\", \"timestamp\": {\"seconds\": 1, \"microseconds\": 5}}\n")
			return
		}
		fmt.Fprintf(conn, "{\"return\": \"late\", \"id\": %d}\n{\"return\": \"mine\", \"id\": %d}\n", late.ID, r.ID)
	}))
	events, unsubscribe := c.Subscribe(1)
	defer unsubscribe()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-events
		cancel()
	}()
	if err := c.Run(ctx, "slow", nil, nil); !errors.Is(err, context.Canceled) {
		t.Fatalf("cancelled command: %v", err)
	}
	var out string
	if err := c.Run(t.Context(), "next", nil, &out); err != nil || out != "mine" {
		t.Fatalf("next command: %q, %v", out, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.pending) != 0 {
		t.Fatalf("%d commands still pending", len(c.pending))
	}
}

func TestEvents(t *testing.T) {
	c := dial(t, fake(t, func(conn net.Conn, r request) {
		for i := range 4 {
			fmt.Fprintf(conn, "{\"event\": \"E%d\", \"data\": {\"n\": %d}, \"timestamp\": {\"seconds\": 7, \"microseconds\": 9}}\n", i, i)
		}
		fmt.Fprintf(conn, "{\"return\": {}, \"id\": %d}\n", r.ID)
	}))
	all, cancelAll := c.Subscribe(8)
	one, cancelOne := c.Subscribe(8, "E2")
	behind, cancelBehind := c.Subscribe(2)
	if err := c.Run(t.Context(), "go", nil, nil); err != nil {
		t.Fatal(err)
	}
	cancelAll()
	cancelAll()
	cancelOne()
	cancelBehind()
	names := func(ch <-chan Event) (s string) {
		for e := range ch {
			s += e.Name
			if !e.Time.Equal(time.Unix(7, 9000)) {
				t.Errorf("time of %s is %v", e.Name, e.Time)
			}
		}
		return s
	}
	for _, tt := range []struct {
		ch   <-chan Event
		want string
	}{{all, "E0E1E2E3"}, {one, "E2"}, {behind, "E2E3"}} {
		if got := names(tt.ch); got != tt.want {
			t.Errorf("events %s, want %s", got, tt.want)
		}
	}
}

func TestConnectionLost(t *testing.T) {
	for _, tt := range []struct{ name, end, want string }{
		{"closed", "", "monitor connection lost: EOF"},
		{"garbage", "}{\n", "decode monitor message"},
		{"nothing known", "{\"hello\": 1}\n", "neither greeting, reply nor event"},
		{"error for nobody", "{\"error\": {\"class\": \"GenericError\", \"desc\": \"bad JSON\"}}\n", "bad JSON"},
		{"endless line", strings.Repeat("x", maxLine+1), "longer than"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			waiting := make(chan struct{}, 2)
			c := dial(t, fake(t, func(conn net.Conn, r request) {
				waiting <- struct{}{}
				if r.Execute == "end" {
					fmt.Fprint(conn, tt.end)
					_ = conn.Close()
				}
			}))
			events, cancel := c.Subscribe(1)
			defer cancel()
			errs := make(chan error, 1)
			go func() { errs <- c.Run(context.Background(), "wait", nil, nil) }()
			<-waiting
			if err := c.Run(t.Context(), "end", nil, nil); !errors.Is(err, ErrLost) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error is %v, want %s", err, tt.want)
			}
			if err := <-errs; !errors.Is(err, ErrLost) {
				t.Errorf("the waiting command got %v", err)
			}
			if _, ok := <-events; ok {
				t.Error("events go on")
			}
			<-c.Done()
			if err := c.Run(t.Context(), "again", nil, nil); !errors.Is(err, ErrLost) {
				t.Errorf("a command after the end got %v", err)
			}
			late, cancelLate := c.Subscribe(1)
			defer cancelLate()
			if _, ok := <-late; ok {
				t.Error("a subscription after the end got an event")
			}
		})
	}
}

func TestDialIsBounded(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "m")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := Dial(ctx, socket); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("silent monitor: %v", err)
	}
	if _, err := Dial(t.Context(), socket+"-absent"); err == nil {
		t.Fatal("no error for a missing socket")
	}
}

func TestRealQEMU(t *testing.T) {
	need.Tool(t, "qemu-system-x86_64")
	socket := filepath.Join(t.TempDir(), "m")
	cmd := exec.CommandContext(t.Context(), "qemu-system-x86_64", "-S", "-machine", "none", "-nodefaults", "-display", "none",
		"-chardev", "socket,id=m,path="+socket+",server=on,wait=on", "-mon", "chardev=m,mode=control")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() { _ = cmd.Wait(); close(exited) }()
	t.Cleanup(func() { _ = cmd.Process.Kill(); <-exited })

	var c *Client
	for c == nil {
		conn, err := Dial(t.Context(), socket)
		if err == nil {
			c = conn
		} else {
			select {
			case <-exited:
				t.Fatal("qemu did not start")
			case <-time.After(5 * time.Millisecond):
			}
		}
	}
	defer c.Close()
	var status struct{ Status string }
	if err := c.Run(t.Context(), "query-status", nil, &status); err != nil || status.Status != "prelaunch" {
		t.Fatalf("status %q, %v", status.Status, err)
	}
	err := c.Transaction(t.Context(), Action{"block-dirty-bitmap-remove", map[string]string{"node": "absent", "name": "x"}})
	var refused *Error
	if !errors.As(err, &refused) {
		t.Fatalf("transaction on a missing node: %v", err)
	}
	events, cancel := c.Subscribe(4, "SHUTDOWN")
	defer cancel()
	if err := c.Run(t.Context(), "quit", nil, nil); err != nil {
		t.Fatal(err)
	}
	if e := <-events; e.Name != "SHUTDOWN" {
		t.Fatalf("event %q", e.Name)
	}
	<-c.Done()
}

func FuzzDecode(f *testing.F) {
	for _, s := range []string{
		greeting,
		`{"return": {}, "id": 2}`,
		`{"error": {"class": "GenericError", "desc": "x"}, "id": 18446744073709551615}`,
		`{"timestamp": {"seconds": 1795325583, "microseconds": 855590}, "event": "STOP"}`,
		`{"timestamp": {"seconds": -1, "microseconds": -1}, "event": "STOP", "data": {"a": [1]}}`,
		`{"return": null}`, `[]`, `{`, ``, `{"id": "text", "return": {}}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		m, err := decode(line)
		if err != nil {
			return
		}
		if m.Greeting == nil && m.Return == nil && m.Error == nil && m.Event == "" {
			t.Fatalf("%q decoded to nothing", line)
		}
		_ = m.Timestamp.time()
	})
}
