package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	_ "modernc.org/sqlite"

	"understudy/internal/dr"
	"understudy/internal/recovery"
	"understudy/internal/store"
)

// onceBackend counts what it does, and may die at a place.
type onceBackend struct {
	backend
	store *store.Store
	runs  *atomic.Int32
	die   func(place string)
	hold  chan struct{} // what it waits for, if not nil
}

func (b *onceBackend) BeginRequest(ctx context.Context, k store.RequestKey, digest [32]byte) (store.Request, bool, error) {
	return b.store.BeginRequest(ctx, k, digest)
}

func (b *onceBackend) EndRequest(ctx context.Context, r store.Request) error {
	b.die("before the answer is kept")
	err := b.store.EndRequest(ctx, r)
	b.die("before the answer is sent")
	return err
}

func (b *onceBackend) ForgetRequest(ctx context.Context, k store.RequestKey) error {
	return b.store.ForgetRequest(ctx, k)
}

func (b *onceBackend) StartRun(ctx context.Context, kind, group, point, by string) (store.Run, error) {
	if b.hold != nil {
		<-b.hold
	}
	if b.err != nil {
		return store.Run{}, b.err
	}
	b.die("before the run is recorded")
	r := store.Run{ID: fmt.Sprintf("r%d", b.runs.Add(1)), Kind: kind, State: store.RunPending} // of no group: the group does not keep it from being begun twice
	if err := b.store.CreateRun(ctx, r, nil); err != nil {
		return r, err
	}
	b.die("when the run is recorded")
	return r, nil
}

func (b *onceBackend) StartRequest(ctx context.Context, q recovery.Request) (store.Run, error) {
	return b.StartRun(ctx, q.Kind, q.Group, q.Point, q.By)
}

func (b *onceBackend) Run(ctx context.Context, id string) (store.Run, []store.Step, error) {
	r, err := b.store.Run(ctx, id)
	return r, nil, err
}

func onceServer(t *testing.T, path string, runs *atomic.Int32) (*onceBackend, string) {
	t.Helper()
	s, err := store.Open(t.Context(), path, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	b := &onceBackend{backend: backend{groups: map[string]dr.Group{"shop": {Name: "shop"}}}, store: s, runs: runs, die: func(string) {}}
	return b, serveBackend(t, b).URL
}

// send posts with a key; of an answer that does not come the status is 0.
func send(ctx context.Context, url, key, path, body string) (status int, text string, header http.Header) {
	req, err := http.NewRequestWithContext(ctx, "POST", url+path, strings.NewReader(body))
	if err != nil {
		return 0, err.Error(), nil
	}
	req.Header.Set("Authorization", "Bearer right")
	req.Header.Set("Content-Type", "application/json")
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err.Error(), nil
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error(), nil
	}
	return resp.StatusCode, string(data), resp.Header
}

const (
	failoverPath = "/v1/groups/shop/failover"
	planned      = `{"kind":"planned"}`
)

func TestSameKeySameAnswer(t *testing.T) {
	var runs atomic.Int32
	b, url := onceServer(t, filepath.Join(t.TempDir(), "s.db"), &runs)
	status, first, header := send(t.Context(), url, "k1", failoverPath, planned)
	if status != http.StatusAccepted || !strings.Contains(first, `"id":"r1"`) || header.Get("Idempotency-Replayed") != "" {
		t.Fatalf("%d %s", status, first)
	}
	status, again, header := send(t.Context(), url, "k1", failoverPath, planned)
	if status != http.StatusAccepted || again != first || header.Get("Idempotency-Replayed") != "true" || header.Get("Content-Type") != "application/json" {
		t.Errorf("again: %d %s", status, again)
	}
	for what, try := range map[string][2]string{
		"another body": {failoverPath, `{"kind":"unplanned"}`}, "another path": {"/v1/groups/shop/commit", planned}, "another query": {failoverPath + "?x=1", planned},
	} {
		if status, text, _ := send(t.Context(), url, "k1", try[0], try[1]); status != http.StatusConflict || !strings.Contains(text, "another request") {
			t.Errorf("%s: %d %s", what, status, text)
		}
	}
	if status, text, _ := send(t.Context(), url, "k2", failoverPath, planned); status != http.StatusAccepted || !strings.Contains(text, `"id":"r2"`) {
		t.Errorf("another key: %d %s", status, text)
	}
	if send(t.Context(), url, "", failoverPath, planned); runs.Load() != 3 {
		t.Errorf("%d runs, without a key too", runs.Load())
	}
	// A refusal is an answer; that something could not be done is none.
	b.err = dr.WithHint(errors.New("not now"), dr.KindConflict, "")
	send(t.Context(), url, "k3", failoverPath, planned)
	b.err = dr.WithHint(errors.New("away"), dr.KindUnavailable, "")
	send(t.Context(), url, "k4", failoverPath, planned)
	b.err = nil
	if status, text, _ := send(t.Context(), url, "k3", failoverPath, planned); status != http.StatusConflict || !strings.Contains(text, "not now") {
		t.Errorf("refused before: %d %s", status, text)
	}
	if status, _, _ := send(t.Context(), url, "k4", failoverPath, planned); status != http.StatusAccepted {
		t.Errorf("could not be done before: %d", status)
	}
	if status, text, _ := send(t.Context(), url, "no good key", failoverPath, planned); status != http.StatusUnprocessableEntity || !strings.Contains(text, "header.Idempotency-Key") {
		t.Errorf("%d %s", status, text)
	}
}

func TestSameKeyAtOnce(t *testing.T) {
	var runs atomic.Int32
	b, url := onceServer(t, filepath.Join(t.TempDir(), "s.db"), &runs)
	b.hold = make(chan struct{})
	var statuses sync.Map
	var wg sync.WaitGroup
	const clients = 5
	refused := make(chan struct{}, clients)
	for i := range clients {
		wg.Go(func() {
			status, _, header := send(t.Context(), url, "k", failoverPath, planned)
			if status == http.StatusConflict && header.Get("Retry-After") != "" {
				refused <- struct{}{}
			}
			statuses.Store(i, status)
		})
	}
	for range clients - 1 { // all but the one that holds the key
		<-refused
	}
	close(b.hold)
	wg.Wait()
	accepted := 0
	statuses.Range(func(_, v any) bool {
		if v == http.StatusAccepted {
			accepted++
		}
		return true
	})
	if accepted != 1 || runs.Load() != 1 {
		t.Errorf("%d accepted, %d runs", accepted, runs.Load())
	}
}

// Wherever a controller dies, the request that is sent again begins no second run, and its answer is the run.
func TestSameKeyOverDeath(t *testing.T) {
	for _, place := range []string{"before the run is recorded", "when the run is recorded", "before the answer is kept", "before the answer is sent"} {
		t.Run(place, func(t *testing.T) {
			var runs atomic.Int32
			path := filepath.Join(t.TempDir(), "s.db")
			b, url := onceServer(t, path, &runs)
			died := make(chan struct{})
			forever := make(chan struct{})
			t.Cleanup(func() { close(forever) })
			b.die = func(at string) {
				if at == place { // nothing of this process happens any more
					close(died)
					<-forever
				}
			}
			go send(t.Context(), url, "k", failoverPath, planned)
			<-died
			_, url = onceServer(t, path, &runs)
			status, text, _ := send(t.Context(), url, "k", failoverPath, planned)
			if status != http.StatusAccepted || !strings.Contains(text, `"id":"r1"`) || runs.Load() != 1 {
				t.Errorf("%d %s, %d runs", status, text, runs.Load())
			}
			if s2, again, _ := send(t.Context(), url, "k", failoverPath, planned); s2 != status || again != text {
				t.Errorf("again: %d %s", s2, again)
			}
		})
	}
}
