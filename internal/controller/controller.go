// Package controller is the long-running part of Understudy: it keeps the configuration, replicates groups, carries
// out runs and answers the API. It owns its data folder; one controller at a time may.
package controller

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"understudy/internal/dr"
	"understudy/internal/history"
	"understudy/internal/keyring"
	"understudy/internal/news"
	"understudy/internal/recovery"
	"understudy/internal/registry"
	"understudy/internal/replicate"
	"understudy/internal/site"
	"understudy/internal/store"
	"understudy/internal/vault"
	"understudy/internal/vault/blob"
)

// Files in the data folder.
const (
	URLFile   = "api.url" // where the API is, while a controller runs
	TokenFile = "token"   // the administrator's token
	lockFile  = "lock"
)

// Config configures a controller.
type Config struct {
	Dir    string // data folder; made when missing
	Now    func() time.Time
	Logger *slog.Logger
	Homes  keyring.Homes // where keys are kept

	// OpenSite opens a site's driver.
	OpenSite func(dr.Site) (site.Driver, error)
	// SitePresent, when set, says why a site that was added before is not there now, such as a folder that is not
	// mounted. It is not opened then: a driver would begin an empty site in its place.
	SitePresent func(dr.Site) error
	// OpenStore opens the store of a vault, and makes it with create; registry.Blob when nil.
	OpenStore func(vaultURL string, create bool) (blob.Store, error)
	// Spool is how much may wait here of what goes to a vault that cannot be reached, in bytes, 0 for none; registry.Spool
	// when nil.
	Spool func(vaultURL string) int64

	// ReconcileEvery is how often held machines are looked after; 0 means 5 s.
	ReconcileEvery time.Duration
}

// Controller is an open controller. Its methods may be called from many goroutines at once.
type Controller struct {
	cfg        Config
	log        *slog.Logger
	lock       io.Closer
	store      *store.Store
	history    *history.History
	scheduler  *replicate.Scheduler
	recovery   *recovery.Recovery
	extensions *extensions
	resumed    bool // recovery is open
	opener     keyring.Opener
	lost       chan error
	dirty      dirtyStatus
	feed       feed
	recordsMu  sync.Mutex
	records    *records // of all groups, as read last
	machines   inventory
	usages     usages
	closing    context.Context // ends when Close begins
	close      context.CancelFunc
	looking    sync.WaitGroup // what Close waits for
	probes     probes

	mu       sync.Mutex
	auditMu  sync.Mutex
	drillsMu sync.Mutex
	drivers  map[string]site.Driver
	vaults   map[string]*keyring.Opened
	spools   map[string]*vault.Spool // by vault
}

// Open opens the data folder and resumes the runs that were under way. Nothing is replicated before Serve.
func Open(ctx context.Context, cfg Config) (_ *Controller, err error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Spool == nil {
		cfg.Spool = registry.Spool
	}
	if cfg.ReconcileEvery == 0 {
		cfg.ReconcileEvery = 5 * time.Second
	}
	for _, dir := range []string{cfg.Dir, filepath.Join(cfg.Dir, "repl"), filepath.Join(cfg.Dir, "run")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("open controller: %w", err)
		}
	}
	closing, close := context.WithCancel(context.WithoutCancel(ctx))
	c := &Controller{
		closing: closing, close: close,
		cfg: cfg, log: cfg.Logger, lost: make(chan error, 1),
		opener:  keyring.Opener{Homes: cfg.Homes, Now: cfg.Now, Logger: cfg.Logger, Store: cfg.OpenStore, Remember: filepath.Join(cfg.Dir, "vaults")},
		drivers: map[string]site.Driver{}, vaults: map[string]*keyring.Opened{}, spools: map[string]*vault.Spool{},
	}
	if cfg.OpenSite == nil {
		return nil, errors.New("open controller: no way to open sites")
	}
	c.lock, err = lock(filepath.Join(cfg.Dir, lockFile))
	if err != nil {
		return nil, dr.WithHint(fmt.Errorf("open controller: %s: %w", cfg.Dir, err), dr.KindConflict,
			"another controller runs on this folder: stop it, or use another folder with --data")
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Close())
		}
	}()
	c.store, err = store.Open(ctx, filepath.Join(cfg.Dir, "state.db"), store.Options{Now: cfg.Now, Ended: news.RunEnded})
	if err != nil {
		return nil, fmt.Errorf("open controller: %w", err)
	}
	if err := c.prepare(ctx); err != nil {
		return nil, fmt.Errorf("open controller: %w", err)
	}
	c.history, err = history.Open(ctx, filepath.Join(cfg.Dir, "history.db"), history.Options{Now: cfg.Now, Logger: cfg.Logger})
	if err != nil {
		return nil, fmt.Errorf("open controller: %w", err)
	}
	holder, err := c.identity()
	if err != nil {
		return nil, fmt.Errorf("open controller: %w", err)
	}
	c.scheduler = replicate.NewScheduler(replicate.SchedulerConfig{
		Holder: holder, Load: c.load, OnStatus: c.onStatus, OnCycle: c.onCycle, Now: cfg.Now, Logger: cfg.Logger,
	})
	if c.extensions, err = c.openExtensions(ctx); err != nil {
		return nil, fmt.Errorf("open controller: %w", err)
	}
	runDir, err := socketDir(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("open controller: %w", err)
	}
	c.recovery = recovery.New(recovery.Options{
		Store: c.store, EnginePath: filepath.Join(cfg.Dir, "engine.db"), RunDir: runDir,
		Sites:       c.driver,
		Vaults:      func(ctx context.Context, name string) (recovery.Vault, error) { return c.vault(ctx, name) },
		Extensions:  c.extensions,
		CanRun:      c.canRun,
		EvidenceDir: filepath.Join(cfg.Dir, "evidence"), Replication: c.sampleReplication,
		Replicator: replicator{c}, Holder: holder, Now: cfg.Now, Logger: cfg.Logger,
		Lost: func(err error) {
			select {
			case c.lost <- err:
			default:
			}
		},
	})
	if err := c.resume(ctx); err != nil {
		return nil, fmt.Errorf("open controller: %w", err)
	}
	return c, nil
}

// prepare makes what every controller has: the tokens and the default policy.
func (c *Controller) prepare(ctx context.Context) error {
	if err := c.prepareAccess(ctx); err != nil {
		return err
	}
	if err := c.checkAudit(ctx); err != nil {
		return err
	}
	p := dr.DefaultPolicy()
	if _, err := c.store.Policy(ctx, p.Name); dr.KindOf(err) == dr.KindNotFound {
		return c.store.PutPolicy(ctx, p)
	} else if err != nil {
		return err
	}
	return nil
}

// identity is the name of this controller in leases: the same as long as its folder lives.
func (c *Controller) identity() (string, error) {
	file := filepath.Join(c.cfg.Dir, "id")
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		data = []byte("controller-" + random(8) + "\n")
		err = writeFile(file, data)
	}
	if err != nil {
		return "", fmt.Errorf("make identity: %w", err)
	}
	return strings.TrimSpace(string(data)), nil
}

func random(n int) string {
	b := make([]byte, n)
	rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

// writeFile writes a private file whole or not at all.
func writeFile(file string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(file), ".new-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// socketPathMax is how long the folder of sockets may be, in bytes, so that their paths stay below 100.
const socketPathMax = 60

// socketDir is the folder of the sockets on which recovery points are served. Machines that run on them look for them
// at the same place after a restart, so it is derived from the data folder and not from chance.
func socketDir(dir string) (string, error) {
	run := filepath.Join(dir, "run")
	if len(run) <= socketPathMax {
		return run, nil
	}
	sum := sha256.Sum256([]byte(run))
	short := filepath.Join(os.TempDir(), "understudy-"+hex.EncodeToString(sum[:6]))
	if err := os.Mkdir(short, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	if err := owned(short); err != nil {
		return "", err
	}
	return short, nil
}

// resume takes up what was under way: groups first, since runs that go on pause them.
func (c *Controller) resume(ctx context.Context) error {
	groups, err := c.store.Groups(ctx)
	if err != nil {
		return err
	}
	for _, g := range groups {
		p, err := c.store.Protection(ctx, g.Name)
		if err != nil {
			return err
		}
		c.scheduler.Add(g.Name, g.Paused || !replicates(p.State))
	}
	if err := c.recovery.Open(ctx); err != nil {
		return err
	}
	c.resumed = true
	return nil
}

// Serve replicates and recovers until ctx ends, then ends cleanly: cycles under way are given up, machines keep running.
func (c *Controller) Serve(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { c.adopt(ctx); return nil })
	g.Go(func() error { return c.scheduler.Run(ctx) })
	g.Go(func() error { return c.saveStatus(ctx) })
	g.Go(func() error { return c.history.Run(ctx) })
	g.Go(func() error { return c.reconcile(ctx) })
	g.Go(func() error { return c.tidy(ctx) })
	g.Go(func() error { return c.keepDrills(ctx) })
	g.Go(func() error { return c.keepMonitors(ctx) })
	g.Go(func() error { return c.keepNotifying(ctx) })
	g.Go(func() error { return c.keepWatch(ctx) })
	g.Go(func() error { return c.keepProbing(ctx) })
	g.Go(func() error { return c.extensions.run(ctx) })
	g.Go(func() error {
		select {
		case <-ctx.Done():
			return nil
		case err := <-c.lost:
			return fmt.Errorf("another controller may have taken over: %w", err)
		}
	})
	if err := g.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// adopt opens every site, also those that no group needs now: a guest that an earlier controller left standing still in
// the middle of a capture goes on when its site is opened.
func (c *Controller) adopt(ctx context.Context) {
	sites, err := c.store.Sites(ctx)
	if err != nil && ctx.Err() == nil {
		c.log.Error("list sites", "err", err)
	}
	for _, s := range sites {
		if _, err := c.driver(ctx, s.Name); err != nil && ctx.Err() == nil {
			c.log.Warn("open site", "site", s.Name, "err", err)
		}
	}
}

// replicates reports whether a group in a state is to be captured.
func replicates(s dr.State) bool {
	switch s {
	case "", dr.StateEnabling, dr.StateSeeding, dr.StateProtected, dr.StateReprotecting, dr.StateReprotectFailed:
		return true
	}
	return false
}

// Close closes everything, after Serve has ended.
func (c *Controller) Close() error {
	c.close()
	c.looking.Wait()
	var err error
	if c.resumed {
		err = c.recovery.Close()
	}
	c.mu.Lock()
	for _, d := range c.drivers {
		if closer, ok := d.(io.Closer); ok {
			err = errors.Join(err, closer.Close())
		}
	}
	c.mu.Unlock()
	if c.history != nil {
		err = errors.Join(err, c.history.Close())
	}
	if c.store != nil {
		err = errors.Join(err, c.store.Close())
	}
	if c.lock != nil {
		err = errors.Join(err, c.lock.Close())
	}
	return err
}

// driver opens a site once.
func (c *Controller) driver(ctx context.Context, name string) (site.Driver, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if d, ok := c.drivers[name]; ok {
		return d, nil
	}
	s, err := c.store.Site(ctx, name)
	if err != nil {
		return nil, err
	}
	if c.cfg.SitePresent != nil {
		if err := c.cfg.SitePresent(s); err != nil {
			return nil, err
		}
	}
	d, err := c.cfg.OpenSite(s)
	if err != nil {
		return nil, err
	}
	c.drivers[name] = d
	return d, nil
}

// vault opens a vault once.
func (c *Controller) vault(ctx context.Context, name string) (*keyring.Opened, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if v, ok := c.vaults[name]; ok {
		return v, nil
	}
	rec, err := c.store.Vault(ctx, name)
	if err != nil {
		return nil, err
	}
	v, err := c.opener.Open(ctx, keyring.Place{URL: rec.URL, Key: rec.KeyFile})
	if err != nil {
		return nil, fmt.Errorf("open vault %s: %w", name, err)
	}
	if rec.ID != "" && v.ID() != rec.ID {
		return nil, dr.WithHint(fmt.Errorf("open vault %s: %s holds another vault (%s, not %s)", name, rec.URL, v.ID(), rec.ID),
			dr.KindConflict, "is the right disk mounted there?")
	}
	c.vaults[name] = v
	return v, nil
}

// spool opens the spool of a vault once; it is nil for a vault without one.
func (c *Controller) spool(ctx context.Context, name string, v *keyring.Opened) (*vault.Spool, error) {
	limit := c.cfg.Spool(v.URL)
	c.mu.Lock()
	defer c.mu.Unlock()
	if s, ok := c.spools[name]; ok || limit == 0 {
		return s, nil
	}
	url, err := registry.VaultURL(filepath.Join(c.cfg.Dir, "spool", v.ID()))
	if err != nil {
		return nil, err
	}
	local, err := registry.Blob(url, true)
	if err != nil {
		return nil, fmt.Errorf("open the spool of vault %s: %w", name, err)
	}
	s, err := v.NewSpool(ctx, local, limit)
	if err != nil {
		return nil, err
	}
	c.spools[name] = s
	return s, nil
}

// WriteURL says in the data folder where the API is; RemoveURL takes that back.
func (c *Controller) WriteURL(url string) error {
	return writeFile(filepath.Join(c.cfg.Dir, URLFile), []byte(url+"\n"))
}

// RemoveURL says that the API is gone.
func (c *Controller) RemoveURL() error { return os.Remove(filepath.Join(c.cfg.Dir, URLFile)) }
