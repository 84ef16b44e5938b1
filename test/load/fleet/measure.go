package fleet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"understudy/internal/api"
	"understudy/internal/api/client"
	"understudy/internal/api/wire"
	"understudy/internal/console"
	"understudy/internal/controller"
	"understudy/internal/dr"
	"understudy/web"
)

// A Server is the API and the console of a fleet, while it replicates.
type Server struct {
	URL, Token string
	Bootstrap  string // the one-time token that makes the first user
	stop       func() error
}

// Serve replicates and answers at an address until Close.
func Serve(ctx context.Context, o Options, listen string) (*Server, error) {
	c, err := Open(ctx, o)
	if err != nil {
		return nil, err
	}
	token, err := os.ReadFile(filepath.Join(o.Dir, controller.TokenFile))
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	once, err := os.ReadFile(filepath.Join(o.Dir, controller.BootstrapFile))
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	answers, _ := api.New(c, api.Options{Version: "fleet", Logger: o.Logger})
	handler, err := console.New(console.Options{API: answers, Files: web.Files(), Version: "fleet"})
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	var served error
	running.Go(func() { served = c.Serve(ctx) })
	running.Go(func() { _ = server.Serve(listener) }) // it ends with Close below
	return &Server{URL: "http://" + listener.Addr().String(), Token: strings.TrimSpace(string(token)), Bootstrap: strings.TrimSpace(string(once)), stop: func() error {
		cancel()
		err := server.Close()
		running.Wait()
		return errors.Join(err, served, c.Close())
	}}, nil
}

// Close ends everything.
func (s *Server) Close() error { return s.stop() }

// Settle waits until every group that replicates has a recovery point of this process, so that what is measured is everyday
// life. A busy machine is late ever after: whether they have one in time is not waited for.
func (s *Server) Settle(ctx context.Context) error {
	api := client.New(s.URL, s.Token)
	for {
		list, err := api.AllStatus(ctx, client.StatusQuery{})
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(list, awaited) {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(5 * time.Second): // the answer is large
		}
	}
}

// awaited reports whether the first cycle of a group is still to come.
func awaited(s wire.Status) bool {
	switch dr.Replication(s.Replicating) {
	case dr.ReplicationPaused, dr.ReplicationOff, dr.ReplicationFenced:
		return false
	}
	return s.LastCycle == nil
}

// A Call is a request that is measured, and how long it may take at the 95th percentile.
type Call struct {
	Name  string
	Path  string
	Limit time.Duration
}

// Calls are what the pages of the console ask for.
func Calls() []Call {
	const page = 200 * time.Millisecond
	return []Call{
		{"overview", "/v1/overview", 500 * time.Millisecond},
		{"first page by lag", "/v1/status?sort=lag&limit=100", 500 * time.Millisecond},
		{"search", "/v1/status?q=app-0123&limit=100", 500 * time.Millisecond},
		{"one group", "/v1/groups/app-00042/status", page},
		{"machines, first page", "/v1/machines?limit=100", time.Second},
		{"history of a day", "/v1/groups/app-00042/history", page},
		{"runs", "/v1/runs?limit=100", page},
		{"events", "/v1/events?limit=100", page},
		{"metrics", "/metrics", time.Second},
	}
}

// Measure asks n times, one after the other, and returns the 95th percentile and the size of the answer.
func (s *Server) Measure(ctx context.Context, path string, n int) (p95 time.Duration, size int, err error) {
	took := make([]time.Duration, n)
	for i := range took {
		began := time.Now()
		if size, err = s.ask(ctx, path); err != nil {
			return 0, 0, err
		}
		took[i] = time.Since(began)
	}
	slices.Sort(took)
	return took[(n*95+99)/100-1], size, nil
}

func (s *Server) ask(ctx context.Context, path string) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+path, nil)
	if err != nil {
		return 0, err
	}
	req.Header.Set("Authorization", "Bearer "+s.Token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", path, resp.Status, data)
	}
	return len(data), err
}
