package blobtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"understudy/internal/dr"
	"understudy/internal/vault/blob"
)

// A Network is the way to a remote store, on which things go wrong. Its zero value passes everything on.
type Network struct {
	// Next carries requests out; http.DefaultTransport when nil.
	Next http.RoundTripper

	mu    sync.Mutex
	fault func(n int, r *http.Request) verdict
	seen  int
}

// A verdict is what becomes of a request.
type verdict struct {
	refuse   bool // no connection
	status   int  // of the answer instead; the request does nothing
	lose     bool // it is carried out, and its answer is lost
	truncate int  // its answer ends after so many bytes
	wait     bool // until it is given up
}

func (w *Network) set(fault func(n int, r *http.Request) verdict) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fault, w.seen = fault, 0
}

func (w *Network) judge(r *http.Request) (v verdict) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fault != nil {
		v = w.fault(w.seen, r)
		w.seen++
	}
	return v
}

var errNetwork = errors.New("injected: the network is down")

// RoundTrip implements http.RoundTripper.
func (w *Network) RoundTrip(r *http.Request) (*http.Response, error) {
	v := w.judge(r)
	drop := func(err error) (*http.Response, error) {
		if r.Body != nil {
			err = errors.Join(err, r.Body.Close())
		}
		return nil, err
	}
	switch {
	case v.wait:
		<-r.Context().Done()
		return drop(context.Cause(r.Context()))
	case v.refuse:
		return drop(errNetwork)
	case v.status != 0:
		if r.Body != nil {
			if _, err := io.Copy(io.Discard, r.Body); err != nil {
				return drop(err)
			}
			if err := r.Body.Close(); err != nil {
				return nil, err
			}
		}
		return &http.Response{StatusCode: v.status, Status: http.StatusText(v.status), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: r,
			Header: http.Header{"Retry-After": {"0"}}, Body: io.NopCloser(strings.NewReader("")), ContentLength: 0}, nil
	}
	next := w.Next
	if next == nil {
		next = http.DefaultTransport
	}
	resp, err := next.RoundTrip(r)
	switch {
	case err != nil:
	case v.lose:
		return nil, errors.Join(errNetwork, resp.Body.Close())
	case v.truncate > 0:
		resp.Body = &cut{ReadCloser: resp.Body, left: v.truncate}
	}
	return resp, err
}

// Do implements the transport of Azure's clients.
func (w *Network) Do(r *http.Request) (*http.Response, error) { return w.RoundTrip(r) }

// cut is a body that breaks off.
type cut struct {
	io.ReadCloser
	left int
}

func (c *cut) Read(p []byte) (int, error) {
	if c.left <= 0 {
		return 0, io.ErrUnexpectedEOF
	}
	n, err := c.ReadCloser.Read(p[:min(len(p), c.left)])
	c.left -= n
	return n, err
}

// bearable is how long an operation may take to say that the store is away.
const bearable = 45 * time.Second

// RunNetwork tests a remote store on a network where things go wrong: it rides out what passes, says what does not with
// dr.KindUnavailable and works again afterwards, and never takes a part for the whole.
func RunNetwork(t *testing.T, open func(t testing.TB, w *Network) blob.Store) {
	for name, test := range map[string]func(t *testing.T, s blob.Store, w *Network){
		"storm": testStorm, "outage": testOutage, "truncated": testTruncated, "lost": testLost, "hangs": testHangs,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := &Network{}
			s := open(t, w)
			test(t, s, w)
		})
	}
}

// testStorm answers two of three requests with 503.
func testStorm(t *testing.T, s blob.Store, w *Network) {
	w.set(func(n int, _ *http.Request) (v verdict) {
		if n%3 != 2 {
			v.status = http.StatusServiceUnavailable
		}
		return v
	})
	large := bytes.Repeat([]byte("0123456789abcdef"), 20<<20/16)
	if _, err := s.Create(t.Context(), "a/large", bytes.NewReader(large)); err != nil {
		t.Fatal(err)
	}
	p := make([]byte, 1<<20)
	if err := s.ReadAt(t.Context(), "a/large", p, 17<<20); err != nil || !bytes.Equal(p, large[17<<20:18<<20]) {
		t.Errorf("read: %v", err)
	}
	tag, err := s.PutTagged(t.Context(), "a/owner", []byte("one"), "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.PutTagged(t.Context(), "a/owner", []byte("two"), tag); err != nil {
		t.Fatal(err)
	}
	if data, _, err := s.GetTagged(t.Context(), "a/owner"); err != nil || string(data) != "two" {
		t.Errorf("%q, %v", data, err)
	}
	if got := list(t, s, "a/"); len(got) != 2 {
		t.Errorf("listed %v", got)
	}
	if err := s.Delete(t.Context(), "a/large"); err != nil {
		t.Error(err)
	}
}

// testOutage takes the store away. What was there is there when it comes back, without opening it again.
func testOutage(t *testing.T, s blob.Store, w *Network) {
	put(t, s, "a/kept", "kept")
	tag, err := s.PutTagged(t.Context(), "a/owner", []byte("one"), "")
	if err != nil {
		t.Fatal(err)
	}
	w.set(func(int, *http.Request) verdict { return verdict{refuse: true} })
	began := time.Now()
	var all sync.WaitGroup
	for name, op := range map[string]func() error{
		"create": func() error { _, err := s.Create(t.Context(), "a/new", strings.NewReader("new")); return err },
		"read":   func() error { return s.ReadAt(t.Context(), "a/kept", make([]byte, 2), 1) },
		"stat":   func() error { _, err := s.Stat(t.Context(), "a/kept"); return err },
		"list":   func() error { return s.List(t.Context(), "a/", func(blob.Info) error { return nil }) },
		"delete": func() error { return s.Delete(t.Context(), "a/kept") },
		"get":    func() error { _, _, err := s.GetTagged(t.Context(), "a/owner"); return err },
		"put":    func() error { _, err := s.PutTagged(t.Context(), "a/owner", []byte("two"), tag); return err },
	} {
		all.Go(func() {
			if err := op(); dr.KindOf(err) != dr.KindUnavailable || dr.Hint(err) == "" || errors.Is(err, blob.ErrNotFound) {
				t.Errorf("%s while the store is away: %v (kind %v)", name, err, dr.KindOf(err))
			}
		})
	}
	all.Wait()
	if took := time.Since(began); took > bearable {
		t.Errorf("it took %s to say so", took)
	}
	w.set(nil)
	if got := list(t, s, "a/"); fmt.Sprint(got) != "[a/kept a/owner]" {
		t.Errorf("after the outage there are %v", got)
	}
	if get(t, s, "a/kept") != "kept" {
		t.Error("what was there has changed")
	}
	if _, err := s.PutTagged(t.Context(), "a/owner", []byte("two"), tag); err != nil {
		t.Error(err)
	}
}

// testTruncated breaks answers off in the middle.
func testTruncated(t *testing.T, s blob.Store, w *Network) {
	want := bytes.Repeat([]byte("truncated reads "), 64<<10/16)
	put(t, s, "a/object", string(want))
	for _, at := range []int{1, 1000, len(want) - 1} {
		for broken := 1; broken <= 30; broken += 29 { // one answer, or all of them
			w.set(func(n int, r *http.Request) (v verdict) {
				if n < broken && r.Method == http.MethodGet {
					v.truncate = at
				}
				return v
			})
			got := make([]byte, len(want))
			err := s.ReadAt(t.Context(), "a/object", got, 0)
			if err == nil && !bytes.Equal(got, want) {
				t.Fatalf("cut after %d bytes: a part was taken for the whole", at)
			}
			if err != nil && dr.KindOf(err) != dr.KindUnavailable {
				t.Errorf("cut after %d bytes: %v", at, err)
			}
		}
	}
	w.set(nil)
	if get(t, s, "a/object") != string(want) {
		t.Error("it cannot be read afterwards")
	}
}

// testLost carries requests out and loses their answers: what comes of it is told, or can be found out.
func testLost(t *testing.T, s blob.Store, w *Network) {
	lose := func(write bool) func(n int, r *http.Request) verdict {
		done := false
		return func(_ int, r *http.Request) (v verdict) {
			if v.lose = !done && write == (r.Method != http.MethodGet && r.Method != http.MethodHead); v.lose {
				done = true
			}
			return v
		}
	}
	w.set(lose(true))
	if _, err := s.Create(t.Context(), "a/object", strings.NewReader("content")); err != nil && !errors.Is(err, blob.ErrExists) && dr.KindOf(err) != dr.KindUnavailable {
		t.Errorf("create: %v", err)
	}
	if get(t, s, "a/object") != "content" {
		t.Error("what was carried out is not there")
	}
	w.set(lose(true))
	tag, err := s.PutTagged(t.Context(), "a/owner", []byte("one"), "")
	if err != nil {
		t.Fatalf("put: %v", err)
	}
	w.set(lose(true))
	tag2, err := s.PutTagged(t.Context(), "a/owner", []byte("two"), tag)
	if err != nil || tag2 == tag {
		t.Fatalf("put again: %v", err)
	}
	if _, err := s.PutTagged(t.Context(), "a/owner", []byte("three"), tag); !errors.Is(err, blob.ErrChanged) {
		t.Errorf("with the tag from before: %v", err)
	}
	w.set(lose(false))
	if data, now, err := s.GetTagged(t.Context(), "a/owner"); err != nil || string(data) != "two" || now != tag2 {
		t.Errorf("%q, %v", data, err)
	}
	w.set(lose(true))
	if err := s.Delete(t.Context(), "a/object"); err != nil {
		t.Errorf("delete: %v", err)
	}
	w.set(nil)
	if got := list(t, s, "a/"); fmt.Sprint(got) != "[a/owner]" {
		t.Errorf("there are %v", got)
	}
}

// testHangs lets requests wait for ever: who gives up is let go.
func testHangs(t *testing.T, s blob.Store, w *Network) {
	put(t, s, "a/object", "content")
	w.set(func(int, *http.Request) verdict { return verdict{wait: true} })
	began := time.Now()
	var all sync.WaitGroup
	for name, op := range map[string]func(ctx context.Context) error{
		"create": func(ctx context.Context) error {
			_, err := s.Create(ctx, "a/new", strings.NewReader("new"))
			return err
		},
		"read": func(ctx context.Context) error { return s.ReadAt(ctx, "a/object", make([]byte, 2), 1) },
		"list": func(ctx context.Context) error { return s.List(ctx, "a/", func(blob.Info) error { return nil }) },
		"get":  func(ctx context.Context) error { _, _, err := s.GetTagged(ctx, "a/owner"); return err },
	} {
		all.Go(func() {
			ctx, stop := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer stop()
			if err := op(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	all.Wait()
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("who gave up was kept for %s", took)
	}
}
