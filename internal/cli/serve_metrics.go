package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"understudy/internal/api"
	"understudy/internal/dr"
)

// serveMetrics answers /metrics, /livez and /readyz at an address of their own, if there is one, until it is ended. When it
// cannot go on, failed is told.
func serveMetrics(address string, b api.Backend, log *slog.Logger, failed context.CancelCauseFunc) (end func() error, err error) {
	if address == "" {
		return func() error { return nil }, nil
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, dr.WithHint(fmt.Errorf("serve metrics: %w", err), dr.KindUnavailable, "choose another address with --metrics-listen, such as 127.0.0.1:7701")
	}
	server := &http.Server{Handler: api.Plain(b), ReadHeaderTimeout: 10 * time.Second, WriteTimeout: 20 * time.Second, IdleTimeout: 2 * time.Minute,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn)}
	log.Info("serving metrics", "url", "http://"+listener.Addr().String()+"/metrics")
	if !listener.Addr().(*net.TCPAddr).IP.IsLoopback() { // of a listener on tcp
		log.Warn("whoever reaches the address of the metrics reads the names of groups, sites and vaults there")
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			failed(fmt.Errorf("serve metrics: %w", err))
		}
	}()
	return func() error {
		err := server.Close()
		<-ended
		return err
	}, nil
}
