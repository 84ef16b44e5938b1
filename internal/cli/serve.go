package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"understudy/internal/access/oidc"
	"understudy/internal/api"
	"understudy/internal/console"
	"understudy/internal/controller"
	"understudy/internal/dr"
	"understudy/internal/keyring"
	"understudy/internal/registry"
	"understudy/internal/site"
	"understudy/web"
)

func (a *App) serveCommand() *cobra.Command {
	var at addresses
	var providers string
	var secure tlsFlags
	var options api.Options
	var logJSON bool
	cmd := &cobra.Command{
		Use:   "serve [--data DIR] [--listen HOST:PORT] [--tls-cert FILE --tls-key FILE] [--four-eyes] [--oidc FILE] [--metrics-listen HOST:PORT]",
		Short: "Run the controller",
		Long: `Run the controller: it replicates groups, carries out failovers and answers the API until it is stopped. Machines keep running
when it stops. Its folder (--data) holds its state, the API's URL in the file api.url and the administrator's token in the file token.
On a loopback address the API has no encryption. Elsewhere it has TLS, with a certificate that is made, tls.crt in the folder, or with your
own: --tls-cert and --tls-key. Behind a proxy that has TLS itself, say so with --behind-tls: the controller serves without it then.
As long as there is no user, the file bootstrap-token holds a token with which the console makes the first, once.
With --oidc, people log in by providers of identities (OpenID Connect), and their groups there say what they may do.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if providers != "" {
				var err error
				if options.OIDC, err = oidc.Read(providers); err != nil {
					return err
				}
			}
			level := slog.LevelInfo
			if a.verbose {
				level = slog.LevelDebug
			}
			var handler slog.Handler = slog.NewTextHandler(a.Err, &slog.HandlerOptions{Level: level})
			if logJSON {
				handler = slog.NewJSONHandler(a.Err, &slog.HandlerOptions{Level: level})
			}
			options.Logger = slog.New(handler)
			return a.serve(cmd.Context(), at, secure, options)
		},
	}
	cmd.Flags().StringVar(&at.api, "listen", "127.0.0.1:7700", "where the API listens; port 0 takes a free one")
	cmd.Flags().StringVar(&at.metrics, "metrics-listen", "", "where /metrics, /livez and /readyz are answered to whoever asks, without a token and without TLS; off by default")
	cmd.Flags().BoolVar(&options.FourEyes, "four-eyes", false, "have another person approve failovers from a source that answers, what deletes, and shortened retention")
	cmd.Flags().BoolVar(&options.Secure, "behind-tls", false, "a proxy with TLS is before it: browsers get cookies for TLS only")
	secure.add(cmd)
	cmd.Flags().StringVar(&providers, "oidc", "", "file of providers of identities that people log in by; see docs/access.md")
	cmd.Flags().BoolVar(&logJSON, "log-json", false, "write the log as JSON")
	return cmd
}

// addresses are where the controller listens.
type addresses struct{ api, metrics string }

func (a *App) serve(ctx context.Context, where addresses, secure tlsFlags, o api.Options) (err error) {
	log := o.Logger
	given, err := secure.load()
	if err != nil {
		return err
	}
	o.Version, o.Now = a.Version, a.Now
	dir, err := a.dataDir()
	if err != nil {
		return err
	}
	homes, err := keyring.FindHomes()
	if err != nil {
		return err
	}
	program, err := registry.Program()
	if err != nil {
		return err
	}
	options := registry.Options{
		Dir: dir, Now: a.Now, Logger: log,
		SwitchCommand: []string{program, "internal", "lan-switch", "--socket"}, ConnectCommand: []string{program, "internal", "connect"},
	}
	c, err := controller.Open(ctx, controller.Config{
		Dir: dir, Now: a.Now, Logger: log, Homes: homes,
		OpenSite:    func(s dr.Site) (site.Driver, error) { return registry.Driver(s, options) },
		SitePresent: registry.Present,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	answers, _ := api.New(c, o)
	handler, err := console.New(console.Options{API: answers, Files: web.Files(), Version: a.Version})
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", where.api)
	if err != nil {
		return dr.WithHint(fmt.Errorf("serve the API: %w", err), dr.KindUnavailable, "choose another address with --listen, such as 127.0.0.1:0")
	}
	// Streams end with their requests' context, and that with the controller.
	requests, endRequests := context.WithCancel(context.WithoutCancel(ctx))
	defer endRequests()
	server := &http.Server{
		Handler: handler, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		BaseContext: func(net.Listener) context.Context { return requests },
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	at := listener.Addr().(*net.TCPAddr) // of a listener on tcp
	serve := func() error { return server.Serve(listener) }
	encrypted := secure.wanted(at, o.Secure)
	switch {
	case encrypted:
		if server.TLSConfig, err = secure.config(c, given, at, a.Now(), log); err != nil {
			return errors.Join(err, listener.Close())
		}
		serve = func() error { return server.ServeTLS(listener, "", "") }
	case !at.IP.IsLoopback() && !o.Secure:
		log.Warn("passwords and tokens travel unencrypted: leave --tls off away, or put a proxy with TLS before it and say --behind-tls")
	}
	endMetrics, err := serveMetrics(where.metrics, c, log, cancel)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	defer func() { err = errors.Join(err, endMetrics()) }()
	served := make(chan error, 1)
	go func() {
		err := serve()
		if !errors.Is(err, http.ErrServerClosed) {
			cancel(fmt.Errorf("serve the API: %w", err))
		}
		served <- err
	}()
	url := apiURL(at, encrypted)
	if err := c.WriteURL(url); err != nil {
		return errors.Join(fmt.Errorf("write the API's URL: %w", err), server.Close())
	}
	log.Info("serving", "url", url, "data", dir, "token", filepath.Join(dir, controller.TokenFile), "version", a.Version)
	if once := filepath.Join(dir, controller.BootstrapFile); exists(once) {
		log.Info("there is no user yet: open the url, and make the first with the one-time token", "token", once)
	}
	a.OnInterrupt("stopping; machines keep running. Ctrl-C again stops at once")
	err = c.Serve(ctx)
	if cause := context.Cause(ctx); err == nil && cause != nil && !errors.Is(cause, context.Canceled) {
		err = cause
	}
	endRequests()
	end, stop := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer stop()
	if serr := server.Shutdown(end); serr != nil {
		log.Warn("requests did not end in time", "err", serr)
		err = errors.Join(err, server.Close())
	}
	<-served
	log.Info("stopped")
	return errors.Join(err, c.RemoveURL())
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}
