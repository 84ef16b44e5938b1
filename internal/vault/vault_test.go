package vault

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"understudy/internal/dr"
	"understudy/internal/vault/blob"
	"understudy/internal/vault/blob/mem"

	"filippo.io/age"
)

// clock is a clock that tests move.
type clock struct{ t time.Time }

func newClock() *clock                   { return &clock{time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)} }
func (c *clock) now() time.Time          { return c.t }
func (c *clock) advance(d time.Duration) { c.t = c.t.Add(d) }

var testIdentity = func() *age.X25519Identity {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		panic(err)
	}
	return id
}()

// newVault makes a vault in a store and opens it.
func newVault(t testing.TB, store blob.Store, c *clock) *Vault {
	t.Helper()
	if err := Create(t.Context(), store, CreateOptions{Recipients: []string{testIdentity.Recipient().String()}, Now: c.now}); err != nil {
		t.Fatal(err)
	}
	return openVault(t, store, c)
}

func openVault(t testing.TB, store blob.Store, c *clock) *Vault {
	t.Helper()
	v, err := Open(t.Context(), store, Options{Identities: []age.Identity{testIdentity}, Now: c.now, PartBytes: 64 << 10, Workers: 2})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// world is a group of machines in memory, with a copy of each captured point: the model that the vault must equal.
type world struct {
	rng     *rand.Rand
	disks   map[dr.DiskID][]byte
	dirty   map[dr.DiskID]map[int]bool
	points  map[string]map[dr.DiskID][]byte
	capture int
	pending string // capture whose commit was tried last
}

func newWorld(seed uint64) *world { return newWorldOf(seed, 70*dr.BlockSize+100, 300*dr.BlockSize) }

func newWorldOf(seed uint64, sizes ...int) *world {
	w := &world{rng: rand.New(rand.NewPCG(seed, 1)), disks: map[dr.DiskID][]byte{}, dirty: map[dr.DiskID]map[int]bool{}, points: map[string]map[dr.DiskID][]byte{}}
	for i, size := range sizes {
		id := dr.DiskID{Machine: fmt.Sprintf("m%d", i%2), Disk: fmt.Sprintf("d%d", i)}
		w.disks[id] = make([]byte, size)
		w.dirty[id] = map[int]bool{}
	}
	w.change(len(sizes) * sizes[0] / dr.BlockSize / 2)
	return w
}

func (w *world) ids() []dr.DiskID {
	return slices.SortedFunc(maps.Keys(w.disks), func(a, b dr.DiskID) int { return a.Compare(b) })
}

func (w *world) machines() []dr.Machine {
	var ms []dr.Machine
	for _, id := range w.ids() {
		if len(ms) == 0 || ms[len(ms)-1].Name != id.Machine {
			ms = append(ms, dr.Machine{Name: id.Machine, CPUs: 2})
		}
		m := &ms[len(ms)-1]
		m.Disks = append(m.Disks, dr.Disk{Name: id.Disk, Size: int64(len(w.disks[id]))})
	}
	return ms
}

// change writes n random blocks: noise, text or zeros.
func (w *world) change(n int) {
	ids := w.ids()
	for range n {
		id := ids[w.rng.IntN(len(ids))]
		d := w.disks[id]
		b := w.rng.IntN((len(d) + dr.BlockSize - 1) / dr.BlockSize)
		p := d[b*dr.BlockSize : min((b+1)*dr.BlockSize, len(d))]
		switch w.rng.IntN(3) {
		case 0:
			clear(p)
		case 1:
			for i := range p {
				p[i] = byte(w.rng.Uint32())
			}
		case 2:
			copy(p, bytes.Repeat(fmt.Appendf(nil, "block %d version %d\n", b, w.rng.Uint32()), dr.BlockSize/16))
		}
		w.dirty[id][b] = true
	}
}

func (w *world) spec(c *clock) Spec {
	w.capture++
	return Spec{CaptureID: fmt.Sprintf("capture%08d", w.capture), Time: c.now(), Kind: dr.CrashConsistent, Skew: time.Duration(w.capture) * time.Millisecond, Machines: w.machines()}
}

// send writes the changed blocks, or all, and returns a copy of what was captured.
func (w *world) send(wr *Writer, all bool) (map[dr.DiskID][]byte, error) {
	for _, id := range w.ids() {
		d := w.disks[id]
		if all {
			const chunk = 8 * dr.BlockSize
			for off := 0; off < len(d); off += chunk {
				if err := wr.Write(id, int64(off), d[off:min(off+chunk, len(d))]); err != nil {
					return nil, err
				}
			}
			continue
		}
		for b := range (len(d) + dr.BlockSize - 1) / dr.BlockSize {
			if !w.dirty[id][b] {
				continue
			}
			p := d[b*dr.BlockSize : min((b+1)*dr.BlockSize, len(d))]
			if err := wr.Write(id, int64(b)*dr.BlockSize, p); err != nil {
				return nil, err
			}
		}
	}
	return w.copy(), nil
}

func (w *world) copy() map[dr.DiskID][]byte {
	cp := map[dr.DiskID][]byte{}
	for id, d := range w.disks {
		cp[id] = bytes.Clone(d)
	}
	return cp
}

func (w *world) committed(p dr.RecoveryPoint, cp map[dr.DiskID][]byte) {
	w.points[p.ID], w.pending = cp, ""
	for id := range w.dirty {
		clear(w.dirty[id])
	}
}

// cycle captures the world: a seed when the group is empty, else a delta.
func (w *world) cycle(ctx context.Context, v *Vault, l *Lease, c *clock, journal string) (dr.RecoveryPoint, error) {
	_, err := v.Head(ctx, l.Group())
	all := dr.KindOf(err) == dr.KindNotFound && err != nil
	if err != nil && !all {
		return dr.RecoveryPoint{}, err
	}
	var wr *Writer
	if all {
		wr, err = v.BeginSeed(ctx, l, w.spec(c), journal, nil)
	} else {
		wr, err = v.BeginDelta(ctx, l, w.spec(c))
	}
	if err != nil {
		return dr.RecoveryPoint{}, err
	}
	cp, err := w.send(wr, all)
	if err != nil {
		wr.Abort()
		return dr.RecoveryPoint{}, err
	}
	// Whether or not the commit is acknowledged, what can be seen must be this.
	w.points[wr.to.ID()], w.pending = cp, wr.spec.CaptureID
	p, err := wr.Commit(ctx)
	if err == nil {
		w.committed(p, cp)
	}
	return p, err
}

// resume finds out, after a crash, whether the last commit happened.
func (w *world) resume(t testing.TB, v *Vault, group string) {
	t.Helper()
	h, err := v.Head(t.Context(), group)
	if err != nil && dr.KindOf(err) != dr.KindNotFound {
		t.Fatal(err)
	}
	if err == nil && h.CaptureID == w.pending {
		for id := range w.dirty {
			clear(w.dirty[id])
		}
	}
}

// verify opens every point that the vault reports and compares it bit for bit with the model.
func (w *world) verify(t testing.TB, v *Vault, group string, want ...string) {
	t.Helper()
	points, err := v.Points(t.Context(), group)
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, info := range points {
		ids = append(ids, info.ID)
		w.same(t, v, group, info.ID)
	}
	for _, id := range want {
		if !slices.Contains(ids, id) {
			t.Fatalf("point %s is gone; there are %v", id, ids)
		}
	}
}

func (w *world) same(t testing.TB, v *Vault, group, id string) {
	t.Helper()
	model := w.points[id]
	if model == nil {
		t.Fatalf("point %s was never captured", id)
	}
	p, err := v.OpenPoint(t.Context(), group, id)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for disk, data := range model {
		d, err := p.Disk(disk)
		if err != nil {
			t.Fatal(err)
		}
		if d.Size() != int64(len(data)) {
			t.Fatalf("point %s disk %s: %d bytes, want %d", id, disk, d.Size(), len(data))
		}
		got := make([]byte, len(data))
		if _, err := d.ReadAt(got, 0); err != nil && err != io.EOF {
			t.Fatal(err)
		}
		if !bytes.Equal(got, data) {
			at := 0
			for got[at] == data[at] {
				at++
			}
			t.Fatalf("point %s disk %s differs at byte %d (block %d)", id, disk, at, at/dr.BlockSize)
		}
		var off int64
		for _, e := range d.Extents(0, d.Size()) {
			if e.Offset != off {
				t.Fatalf("extents of %s have a gap at %d", disk, off)
			}
			if e.Zero && len(bytes.Trim(data[e.Offset:e.End()], "\x00")) > 0 {
				t.Fatalf("extent %+v of %s is not zero", e, disk)
			}
			off = e.End()
		}
		if off != d.Size() {
			t.Fatalf("extents of %s end at %d", disk, off)
		}
	}
}

func acquire(t testing.TB, v *Vault, site string) *Lease {
	t.Helper()
	l, err := v.Acquire(t.Context(), "shop", site, site+"-controller", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestSeedAndDeltas(t *testing.T) {
	c, w := newClock(), newWorld(1)
	store := mem.New()
	v := newVault(t, store, c)
	l := acquire(t, v, "east")
	if _, err := v.BeginDelta(t.Context(), l, w.spec(c)); dr.KindOf(err) != dr.KindConflict {
		t.Fatalf("delta without a seed: %v", err)
	}
	journal := filepath.Join(t.TempDir(), "journal")
	for range 10 {
		if _, err := w.cycle(t.Context(), v, l, c, journal); err != nil {
			t.Fatal(err)
		}
		w.change(20)
		c.advance(time.Minute)
	}
	w.verify(t, v, "shop", "1-1", "1-5", "1-10")
	w.verify(t, openVault(t, store, c), "shop", "1-1", "1-5", "1-10")
	if p, err := v.FindPoint(t.Context(), "shop", "latest"); err != nil || p.ID != "1-10" {
		t.Fatal(p, err)
	}
	if p, err := v.FindPoint(t.Context(), "shop", "2026-03-01T12:03:30Z"); err != nil || p.ID != "1-4" {
		t.Fatal(p, err)
	}
	if groups, err := v.Groups(t.Context()); err != nil || !slices.Equal(groups, []string{"shop"}) {
		t.Fatal(groups, err)
	}
}
