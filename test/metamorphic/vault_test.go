// Package metamorphic drives random sequences of what can happen to a vault against a plain model in memory. rapid
// prints the seed of a failure; -rapid.seed repeats it, -rapid.checks and -rapid.steps make it search longer.
package metamorphic

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"understudy/internal/dr"
	"understudy/internal/vault"
	"understudy/internal/vault/blob/faulty"
	"understudy/internal/vault/blob/mem"

	"filippo.io/age"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) {
	flag.Parse()
	given := map[string]bool{}
	flag.Visit(func(f *flag.Flag) { given[f.Name] = true })
	if !given["rapid.checks"] && os.Getenv("UNDERSTUDY_TEST_ALL") != "1" {
		_ = flag.Set("rapid.checks", "15") // a few seconds
	}
	os.Exit(m.Run())
}

const (
	group  = "shop"
	blocks = 40
)

var identity, _ = age.GenerateX25519Identity()

// content is the model of a disk. A short last block makes its size no multiple of a block.
type content []byte

// model is what must hold: the live disk, and each point that may be seen as it was captured.
type model struct {
	live  content
	dirty map[int]bool
	// points holds what a point must read as, if it is seen; acked are those that must be seen.
	points map[string]content
	acked  map[string]dr.RecoveryPoint
}

type world struct {
	model
	dir     string
	inner   *mem.Store
	store   *faulty.Store
	vault   *vault.Vault
	lease   *vault.Lease
	site    string
	now     time.Time
	capture int
	pending string
	open    *vault.Point
	openAs  content
	opened  time.Time
}

var disk = dr.DiskID{Machine: "db", Disk: "data"}

func newWorld(t *rapid.T, dir string) *world {
	w := &world{model: model{live: make(content, blocks*dr.BlockSize-700), dirty: map[int]bool{}, points: map[string]content{}, acked: map[string]dr.RecoveryPoint{}},
		dir: dir, inner: mem.New(), site: "east", now: time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)}
	w.store = faulty.New(w.inner)
	if err := vault.Create(context.Background(), w.inner, vault.CreateOptions{Recipients: []string{identity.Recipient().String()}}); err != nil {
		t.Fatal(err)
	}
	w.restart(t)
	return w
}

// restart opens the vault as a new process does, after a crash or not, and finds out what was committed.
func (w *world) restart(t *rapid.T) {
	w.close()
	w.store.Plan()
	var err error
	if w.vault, err = vault.Open(context.Background(), w.store, vault.Options{Identities: []age.Identity{identity}, Now: func() time.Time { return w.now },
		PartBytes: 1, Workers: 1, Grace: 2 * time.Minute}); err != nil {
		t.Fatal(err)
	}
	if w.lease, err = w.vault.Acquire(context.Background(), group, w.site, w.site, 24*time.Hour); err != nil {
		t.Fatal(err)
	}
	head, err := w.vault.Head(context.Background(), group)
	if err != nil && dr.KindOf(err) != dr.KindNotFound {
		t.Fatal(err)
	}
	if err == nil && head.CaptureID == w.pending {
		clear(w.dirty)
		w.pending = ""
	}
}

func (w *world) close() {
	if w.open != nil {
		w.open.Close()
		w.open = nil
	}
}

// failed restarts after an injected fault; any other error is a bug.
func (w *world) failed(t *rapid.T, err error) {
	if !errors.Is(err, faulty.ErrInjected) {
		t.Fatal(err)
	}
	w.restart(t)
}

func (w *world) spec() vault.Spec {
	w.capture++
	return vault.Spec{CaptureID: fmt.Sprintf("c%d", w.capture), Time: w.now, Kind: dr.CrashConsistent,
		Machines: []dr.Machine{{Name: "db", Disks: []dr.Disk{{Name: "data", Size: int64(len(w.live))}}}}}
}

func (w *world) block(b int) (int64, []byte) {
	off := b * dr.BlockSize
	return int64(off), w.live[off:min(off+dr.BlockSize, len(w.live))]
}

// commit captures the live disk: a seed when there is no point, else a delta.
func (w *world) commit() error {
	ctx := context.Background()
	_, err := w.vault.Head(ctx, group)
	seed := dr.KindOf(err) == dr.KindNotFound && err != nil
	if err != nil && !seed {
		return err
	}
	spec := w.spec()
	var wr *vault.Writer
	if seed {
		wr, err = w.vault.BeginSeed(ctx, w.lease, spec, filepath.Join(w.dir, "journal"), nil)
	} else {
		wr, err = w.vault.BeginDelta(ctx, w.lease, spec)
	}
	if err != nil {
		return err
	}
	for b := range blocks {
		if !seed && !w.dirty[b] {
			continue
		}
		off, p := w.block(b)
		if err := wr.Write(disk, off, p); err != nil {
			wr.Abort()
			return err
		}
	}
	w.pending = spec.CaptureID
	captured := content(bytes.Clone(w.live))
	id, err := w.next(ctx)
	if err != nil {
		wr.Abort()
		return err
	}
	w.points[id] = captured
	p, err := wr.Commit(ctx)
	if err != nil {
		return err
	}
	if p.ID != id {
		return fmt.Errorf("committed %s, expected %s", p.ID, id)
	}
	w.acked[p.ID] = p
	w.pending = ""
	clear(w.dirty)
	return nil
}

// next is the ID that the next point gets.
func (w *world) next(ctx context.Context) (string, error) {
	head, err := w.vault.Head(ctx, group)
	if err != nil && dr.KindOf(err) != dr.KindNotFound {
		return "", err
	}
	return dr.Position{Epoch: w.lease.Epoch(), Sequence: head.Point.Position.Sequence + 1}.ID(), nil
}

// check compares every point that the vault reports with the model, and that no acknowledged point is missing.
func (w *world) check(t *rapid.T) {
	points, err := w.vault.Points(context.Background(), group)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for i, p := range points {
		seen[p.ID] = true
		if i > 0 && points[i-1].Position.Compare(p.Position) >= 0 {
			t.Fatalf("points out of order: %s, %s", points[i-1].ID, p.ID)
		}
		if w.points[p.ID] == nil {
			t.Fatalf("point %s was never captured", p.ID)
		}
	}
	for id := range w.acked {
		if !seen[id] {
			t.Fatalf("point %s was acknowledged and is gone", id)
		}
	}
	for _, i := range sampleOf(len(points)) {
		p, err := w.vault.OpenPoint(context.Background(), group, points[i].ID)
		if err != nil {
			t.Fatal(err)
		}
		compare(t, p, w.points[points[i].ID])
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// sampleOf chooses up to six points, the oldest and the newest among them.
func sampleOf(n int) (chosen []int) {
	for i := range min(n, 6) {
		chosen = append(chosen, i*(n-1)/max(min(n, 6)-1, 1))
	}
	return slices.Compact(chosen)
}

func compare(t *rapid.T, p *vault.Point, want content) {
	d, err := p.Disk(disk)
	if err != nil {
		t.Fatal(err)
	}
	got := make([]byte, d.Size())
	if _, err := d.ReadAt(got, 0); err != nil && err != io.EOF {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("point %s differs from what was captured", p.Info().ID)
	}
}

func TestVault(t *testing.T) {
	n := 0
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		n++
		w := newWorld(t, filepath.Join(dir, fmt.Sprint(n)))
		defer w.close()
		t.Repeat(map[string]func(*rapid.T){
			"write": func(t *rapid.T) {
				for _, b := range rapid.SliceOfN(rapid.IntRange(0, blocks-1), 1, 8).Draw(t, "blocks") {
					_, p := w.block(b)
					seed := rapid.Uint64().Draw(t, "data")
					for i := range p {
						seed = seed*6364136223846793005 + 1442695040888963407
						p[i] = byte(seed >> 56)
					}
					w.dirty[b] = true
				}
			},
			"zero": func(t *rapid.T) {
				from := rapid.IntRange(0, blocks-1).Draw(t, "from")
				for b := from; b < min(blocks, from+rapid.IntRange(1, 20).Draw(t, "blocks")); b++ {
					_, p := w.block(b)
					clear(p)
					w.dirty[b] = true
				}
			},
			"commit": func(t *rapid.T) {
				if err := w.commit(); err != nil {
					t.Fatal(err)
				}
			},
			"commit with a fault": func(t *rapid.T) {
				w.plan(t, 30)
				if err := w.commit(); err != nil {
					w.failed(t, err)
				}
				w.store.Plan()
			},
			"compact": func(t *rapid.T) {
				if _, err := w.vault.Compact(context.Background(), w.lease, nil); err != nil {
					t.Fatal(err)
				}
			},
			"compact with a fault": func(t *rapid.T) {
				w.plan(t, 60)
				if _, err := w.vault.Compact(context.Background(), w.lease, nil); err != nil {
					w.failed(t, err)
				}
				w.store.Plan()
			},
			"retain": func(t *rapid.T) {
				keep := []dr.Tier{{For: 30 * time.Minute}, {Every: time.Hour, For: 6 * time.Hour}}
				points, err := w.vault.Points(context.Background(), group)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := w.vault.Compact(context.Background(), w.lease, keep); err != nil {
					t.Fatal(err)
				}
				w.acked = map[string]dr.RecoveryPoint{}
				for _, p := range dr.Retain(points, keep, w.now) {
					w.acked[p.ID] = p
				}
				for _, p := range points {
					if len(p.Names) > 0 {
						w.acked[p.ID] = p
					}
				}
			},
			"name": func(t *rapid.T) {
				w.plan(t, 8) // reads for the most part
				name := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "name")
				p, err := w.vault.NamePoint(context.Background(), group, "latest", name)
				w.store.Plan()
				switch {
				case errors.Is(err, faulty.ErrInjected):
					w.restart(t)
				case err == nil && w.points[p.ID] != nil && slices.Contains(p.Names, name):
				case dr.KindOf(err) == dr.KindNotFound || dr.KindOf(err) == dr.KindConflict: // no point, or another has the name
				default:
					t.Fatal(p, err)
				}
			},
			"unname": func(t *rapid.T) {
				_, err := w.vault.UnnamePoint(context.Background(), group, rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "name"))
				if err != nil && dr.KindOf(err) != dr.KindNotFound {
					t.Fatal(err)
				}
			},
			"difference": w.difference,
			"lose the owner": func(t *rapid.T) {
				if err := w.inner.Delete(context.Background(), "g/"+group+"/owner"); err != nil {
					t.Fatal(err)
				}
				w.restart(t)
			},
			"time passes": func(t *rapid.T) {
				w.now = w.now.Add(time.Duration(rapid.IntRange(1, 60).Draw(t, "minutes")) * time.Minute)
				if w.now.Sub(w.opened) > 15*time.Minute {
					w.close() // nobody renewed its pin meanwhile
				}
			},
			"clock goes back": func(t *rapid.T) {
				w.now = w.now.Add(-time.Duration(rapid.IntRange(1, 600).Draw(t, "minutes")) * time.Minute)
			},
			"restart": func(t *rapid.T) { w.restart(t) },
			"fail over": func(t *rapid.T) {
				w.site = map[string]string{"east": "west", "west": "east"}[w.site]
				lease, err := w.vault.TakeOver(context.Background(), group, w.site, w.site, 24*time.Hour)
				if err != nil {
					t.Fatal(err)
				}
				if w.lease.Renew(context.Background()) == nil {
					t.Fatal("the old lease can be renewed")
				}
				w.lease = lease
			},
			"open": func(t *rapid.T) {
				w.close()
				points, err := w.vault.Points(context.Background(), group)
				if err != nil || len(points) == 0 {
					t.Skip()
				}
				p := points[rapid.IntRange(0, len(points)-1).Draw(t, "point")]
				if w.open, err = w.vault.OpenPoint(context.Background(), group, p.ID); err != nil {
					t.Fatal(err)
				}
				w.openAs, w.opened = w.points[p.ID], w.now
			},
			"": func(t *rapid.T) {
				// The lease lasts a day of a clock that jumps.
				lease, err := w.vault.Acquire(context.Background(), group, w.site, w.site, 24*time.Hour)
				if err != nil {
					t.Fatal(err)
				}
				w.lease = lease
				w.check(t)
				if w.open != nil {
					compare(t, w.open, w.openAs)
				}
			},
		})
	})
}

// difference makes sure that what two points differ in is named.
func (w *world) difference(t *rapid.T) {
	points, err := w.vault.Points(context.Background(), group)
	if err != nil || len(points) == 0 {
		t.Skip()
	}
	draw := func(label string) string { return points[rapid.IntRange(0, len(points)-1).Draw(t, label)].ID }
	from, to := draw("from"), draw("to")
	changed, full, err := w.vault.ChangedBetween(context.Background(), group, from, to)
	if err != nil {
		t.Fatal(err)
	}
	if full {
		return
	}
	then, now := bytes.Clone(w.points[from]), w.points[to]
	for _, e := range changed[disk] {
		copy(then[e.Offset:e.End()], now[e.Offset:e.End()])
	}
	if !bytes.Equal(then, now) {
		t.Fatalf("%s and %s differ elsewhere than in %v", from, to, changed[disk])
	}
}

// plan makes one of the next calls fail in some way.
func (w *world) plan(t *rapid.T, calls int) {
	w.store.Plan(faulty.Fault{
		N:      rapid.IntRange(1, calls).Draw(t, "call"),
		Effect: rapid.SampledFrom([]faulty.Effect{faulty.Fail, faulty.Short, faulty.NoSpace, faulty.Lost, faulty.Crash, faulty.CrashAfter}).Draw(t, "fault"),
	})
}
