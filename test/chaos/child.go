package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/rpc"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"sync/atomic"
	"syscall"
	"time"

	"understudy/internal/api"
	"understudy/internal/controller"
	"understudy/internal/dr"
	"understudy/internal/keyring"
	"understudy/internal/site"
	"understudy/internal/vault/blob"
)

// childSettings tell a controller process where its world is.
type childSettings struct {
	Dir    string        // of the world
	Socket string        // of its bridge
	Clock  time.Duration // how far the world's clock is ahead of the host's
}

// childEnv carries the settings, as JSON.
const childEnv = "UNDERSTUDY_CHAOS_CONTROLLER"

// child runs the real controller and its API on the world's sites and store until it is killed or asked to end.
func child(settings string) (err error) {
	var s childSettings
	if err := json.Unmarshal([]byte(settings), &s); err != nil {
		return fmt.Errorf("read settings: %w", err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	conn, err := net.Dial("unix", s.Socket)
	if err != nil {
		return fmt.Errorf("reach the world: %w", err)
	}
	b := &bridge{rpc: rpc.NewClient(orphan{conn})}
	var ahead atomic.Int64
	ahead.Store(int64(s.Clock))
	now := func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelInfo}))
	c, err := controller.Open(ctx, controller.Config{
		Dir: filepath.Join(s.Dir, "data"), Now: now, Logger: log, ReconcileEvery: reconcileEvery,
		Homes:     keyring.Homes{Config: filepath.Join(s.Dir, "config"), State: filepath.Join(s.Dir, "state")},
		OpenSite:  func(v dr.Site) (site.Driver, error) { return &remoteSite{b, v.Name}, nil },
		OpenStore: func(string, bool) (blob.Store, error) { return remoteStore{b}, nil },
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	handler, _ := api.New(c, api.Options{Version: "chaos", Logger: log})
	mux := http.NewServeMux()
	mux.Handle("/", handler)
	mux.HandleFunc("PUT /chaos/clock", func(_ http.ResponseWriter, r *http.Request) {
		var d int64
		if json.NewDecoder(r.Body).Decode(&d) == nil {
			ahead.Store(d)
		}
	})
	mux.HandleFunc("GET /chaos/goroutines", func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("dump") != "" {
			_ = pprof.Lookup("goroutine").WriteTo(w, 1)
			return
		}
		fmt.Fprint(w, runtime.NumGoroutine())
	})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go server.Serve(listener) // until the process ends
	if err := c.WriteURL("http://" + listener.Addr().String()); err != nil {
		return err
	}
	err = c.Serve(ctx)
	return errors.Join(err, c.RemoveURL(), server.Close())
}

// reconcileEvery is how often the controller looks after held machines.
const reconcileEvery = 50 * time.Millisecond

// orphan ends the process when the world is gone: nothing outlives the run, however that ends.
type orphan struct{ net.Conn }

func (o orphan) Read(p []byte) (int, error) {
	n, err := o.Conn.Read(p)
	if errors.Is(err, io.EOF) || err != nil && n == 0 {
		os.Exit(3)
	}
	return n, err
}
