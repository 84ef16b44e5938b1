package recovery_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"filippo.io/age"

	"understudy/internal/dr"
	"understudy/internal/nbd"
	"understudy/internal/recovery"
	"understudy/internal/site"
	"understudy/internal/site/fake"
	"understudy/internal/store"
	"understudy/internal/vault"
	"understudy/internal/vault/blob"
	"understudy/internal/vault/blob/mem"
)

const diskSize = 16*dr.BlockSize + 512

var shop = dr.Group{Name: "shop", Site: "east", Target: "west", Vault: "main", Policy: "gold", Machines: []dr.MachinePolicy{
	{Name: "db", Order: 1, Probe: dr.Probe{Kind: dr.ProbeTCP, Port: 7000, Timeout: 5 * time.Second}},
	{Name: "cache", Order: 1},
	{Name: "web", Order: 2},
}}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// world is two sites, a vault and a controller.
type world struct {
	t          testing.TB
	dir        string
	east, west *fake.Site
	eastDown   atomic.Bool
	vault      *vault.Vault
	store      *store.Store
	rec        *recovery.Recovery
	wrap       func(name string, d site.Driver) site.Driver

	mu       sync.Mutex
	captures int
	last     string
	paused   bool
	finalErr error
	started  []string // at west, in order
}

func newVault(t testing.TB, blobs blob.Store, id *age.X25519Identity) *vault.Vault {
	t.Helper()
	must(t, vault.Create(t.Context(), blobs, vault.CreateOptions{Recipients: []string{id.Recipient().String()}}))
	return openVault(t, blobs, id)
}

func openVault(t testing.TB, blobs blob.Store, id *age.X25519Identity) *vault.Vault {
	t.Helper()
	v, err := vault.Open(t.Context(), blobs, vault.Options{Identities: []age.Identity{id}, Workers: 1})
	must(t, err)
	return v
}

func newWorld(t testing.TB) *world {
	id, err := age.GenerateX25519Identity()
	must(t, err)
	return newWorldOn(t, t.TempDir(), newVault(t, mem.New(), id))
}

func newWorldOn(t testing.TB, dir string, v *vault.Vault) *world {
	w := &world{t: t, dir: dir, east: fake.New("east"), west: fake.New("west"), vault: v}
	for i, m := range shop.Machines {
		w.east.AddMachine(dr.Machine{Name: m.Name, CPUs: 1, Power: dr.PowerOn, Disks: []dr.Disk{{Name: "data", Size: diskSize}},
			NICs: []dr.NIC{{Network: "lan", Forwards: []dr.Forward{{HostPort: 7000 + i, GuestPort: 7000}}}}})
		w.write(m.Name, "first")
	}
	w.west.OpenSource = func(uri string) (io.ReaderAt, error) { return source(uri), nil }
	var err error
	w.store, err = store.Open(t.Context(), filepath.Join(dir, "state.db"), store.Options{})
	must(t, err)
	t.Cleanup(func() { w.store.Close() })
	configure(t, w.store)
	must(t, w.sync())
	return w
}

// source reads an export over a connection per request, as good as a machine that reconnects.
type source string

func (s source) ReadAt(p []byte, off int64) (int, error) {
	c, err := nbd.Dial(context.Background(), string(s), nbd.DialOptions{})
	if err != nil {
		return 0, err
	}
	defer c.Close()
	return c.ReadAt(p, off)
}

func configure(t testing.TB, s *store.Store) {
	ctx := t.Context()
	must(t, s.PutSite(ctx, dr.Site{Name: "east", Provider: "fake"}))
	must(t, s.PutSite(ctx, dr.Site{Name: "west", Provider: "fake"}))
	must(t, s.PutVault(ctx, store.Vault{Name: "main", URL: "mem:"}))
	must(t, s.PutPolicy(ctx, dr.Policy{Name: "gold", RPO: 5 * time.Second}))
	must(t, s.CreateGroup(ctx, shop))
}

func id(machine string) dr.DiskID { return dr.DiskID{Machine: machine, Disk: "data"} }

// write is what the application writes at the source.
func (w *world) write(machine, text string) {
	w.east.WriteDisk(id(machine), 3*dr.BlockSize-2, []byte(machine+" "+text))
}

func (w *world) read(s *fake.Site, machine string) string {
	b := s.ReadDisk(id(machine), 3*dr.BlockSize-2, 20)
	return string(bytes.TrimRight(b, "\x00"))
}

// sync makes a recovery point of the source as it is.
func (w *world) sync() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	ctx := context.Background()
	w.captures++
	captureID := fmt.Sprintf("c%d", w.captures)
	lease, err := w.vault.Acquire(ctx, "shop", "east", "controller", time.Minute)
	if err != nil {
		return err
	}
	c, err := w.east.Capture(ctx, site.CaptureRequest{Group: "shop", Machines: []string{"db", "cache", "web"}, ID: captureID, Since: w.last})
	if err != nil {
		return err
	}
	spec := vault.Spec{CaptureID: captureID, Time: c.Time(), Kind: c.Consistency(), Machines: c.Machines()}
	var out *vault.Writer
	if w.last == "" {
		out, err = w.vault.BeginSeed(ctx, lease, spec, filepath.Join(w.dir, "journal"), func(map[dr.DiskID][]dr.Extent) error { return nil })
	} else {
		out, err = w.vault.BeginDelta(ctx, lease, spec)
	}
	if err != nil {
		return err
	}
	for _, d := range c.Disks() {
		ch, err := d.Changes(ctx)
		if err != nil {
			return err
		}
		for _, e := range ch.Extents {
			p := make([]byte, e.Length)
			if _, err := d.ReadAt(p, e.Offset); err != nil && err != io.EOF {
				return err
			}
			if err := out.Write(d.ID(), e.Offset, p); err != nil {
				return err
			}
		}
	}
	if _, err := out.Commit(ctx); err != nil {
		return err
	}
	w.last = captureID
	return errors.Join(c.Commit(ctx), lease.Release(ctx))
}

// Pause, Resume and Final make the world a Replicator.
func (w *world) Pause(context.Context, string) error  { return w.setPaused(true) }
func (w *world) Resume(context.Context, string) error { return w.setPaused(false) }

func (w *world) setPaused(p bool) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.paused = p
	return nil
}

func (w *world) isPaused() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.paused
}

func (w *world) Final(ctx context.Context, group string) (dr.RecoveryPoint, error) {
	if w.finalErr != nil {
		return dr.RecoveryPoint{}, w.finalErr
	}
	if err := w.sync(); err != nil {
		return dr.RecoveryPoint{}, err
	}
	h, err := w.vault.Head(ctx, group)
	return h.Point, err
}

func (w *world) site(_ context.Context, name string) (site.Driver, error) {
	var d site.Driver = w.west
	if name == "east" {
		d = w.east
		if w.eastDown.Load() {
			return nil, dr.WithHint(errors.New("site east does not answer"), dr.KindUnavailable, "")
		}
	}
	if name == "west" {
		d = &recorder{d, w}
	}
	if w.wrap != nil {
		d = w.wrap(name, d)
	}
	return d, nil
}

// recorder notes in which order machines are started.
type recorder struct {
	site.Driver
	w *world
}

func (r *recorder) Power(ctx context.Context, machine string, a site.PowerAction) error {
	if a == site.PowerStart {
		r.w.mu.Lock()
		r.w.started = append(r.w.started, machine)
		r.w.mu.Unlock()
	}
	return r.Driver.Power(ctx, machine, a)
}

func options(dir string, s *store.Store, v recovery.Vault) recovery.Options {
	return recovery.Options{
		Store: s, EnginePath: filepath.Join(dir, "engine.db"), RunDir: filepath.Join(dir, "run"), Holder: "controller",
		Vaults:      func(context.Context, string) (recovery.Vault, error) { return v, nil },
		SiteTimeout: 2 * time.Second, ShutdownGrace: time.Second,
		Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})),
	}
}

// open starts a controller.
func (w *world) open() *recovery.Recovery {
	w.t.Helper()
	o := options(w.dir, w.store, w.vault)
	o.Sites, o.Replicator = w.site, w
	w.rec = recovery.New(o)
	must(w.t, w.rec.Open(w.t.Context()))
	return w.rec
}

func (w *world) close() {
	w.t.Helper()
	must(w.t, w.rec.Close())
}

// run starts a run and waits for its end.
func (w *world) run(kind string, want store.RunState) store.Run {
	w.t.Helper()
	run, err := w.rec.Start(w.t.Context(), recovery.Request{Kind: kind, Group: "shop"})
	must(w.t, err)
	return w.wait(run.ID, want)
}

func (w *world) wait(id string, want store.RunState) store.Run {
	w.t.Helper()
	ctx, stop := context.WithTimeout(w.t.Context(), 30*time.Second)
	defer stop()
	var last store.Run
	var steps []store.Step
	err := w.rec.Watch(ctx, id, func(r store.Run, s []store.Step) error { last, steps = r, s; return nil })
	if err != nil || last.State != want {
		for _, s := range steps {
			w.t.Logf("%-10s %-22s %s %s", s.State, s.Name, s.Message, s.Error)
		}
		w.t.Fatalf("run is %s, want %s: %s (%v)", last.State, want, last.Error, err)
	}
	return last
}

func (w *world) protection() store.Protection {
	w.t.Helper()
	p, err := w.store.Protection(w.t.Context(), "shop")
	must(w.t, err)
	return p
}

func power(t testing.TB, s *fake.Site) map[string]dr.Power {
	t.Helper()
	list, err := s.Machines(t.Context())
	must(t, err)
	out := map[string]dr.Power{}
	for _, m := range list {
		out[m.Name] = m.Power
	}
	return out
}
