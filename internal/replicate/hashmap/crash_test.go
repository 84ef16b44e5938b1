package hashmap

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// rig drives a map beside a plain model of the disk and of the vault, through failures of power.
type rig struct {
	t    rapid.TB
	fs   *powerFiles
	rng  *rand.Rand
	disk []byte // one letter per block; 0 is zeros
	held []byte // what the vault holds
	head string
	next int
}

func newRig(t rapid.TB, seed uint64, blocks int) *rig {
	rng := rand.New(rand.NewPCG(seed, 0))
	return &rig{t: t, rng: rng, disk: make([]byte, blocks), held: make([]byte, blocks),
		fs: &powerFiles{rng: rng, files: map[string]*powerFile{}, left: -1}}
}

func (r *rig) size() int64 { return int64(len(r.disk)) * block }

func (r *rig) write() {
	for range r.rng.IntN(5) {
		at, n, c := r.rng.IntN(len(r.disk)), 1+r.rng.IntN(4), byte(r.rng.IntN(3))
		for i := at; i < min(at+n, len(r.disk)); i++ {
			r.disk[i] = c
		}
	}
}

func (r *rig) bytes(from, to int) []byte {
	p := make([]byte, (to-from)*block)
	for i := range p {
		p[i] = r.disk[from+i/block]
	}
	return p
}

// scan compares the whole disk with the map and brings sent to what the vault would hold.
func (r *rig) scan(m *Map, sent []byte) error {
	for from := 0; from < len(r.disk); {
		to := min(from+1+r.rng.IntN(len(r.disk)), len(r.disk))
		var err error
		if !slices.ContainsFunc(r.disk[from:to], func(c byte) bool { return c != 0 }) {
			err = m.DiffZero(int64(from)*block, int64(to-from)*block, func(off, n int64) error {
				clear(sent[off/block : (off+n)/block])
				return nil
			})
		} else {
			err = m.Diff(int64(from)*block, r.bytes(from, to), func(off int64, p []byte, zero bool) error {
				for i := range len(p) / block {
					sent[off/block+int64(i)] = p[i*block]
					if zero != (p[i*block] == 0) {
						r.t.Errorf("zero %v for %d", zero, p[i*block])
					}
				}
				return nil
			})
		}
		if err != nil {
			return err
		}
		from = to
	}
	return nil
}

// open opens the map for the vault's head, or makes one from what the vault holds.
func (r *rig) open(mustBeValid bool) (*Map, error) {
	m, valid, err := open(r.fs, "d", shopData, r.size(), r.head)
	if err != nil || valid {
		return m, err
	}
	if mustBeValid {
		r.t.Fatalf("map lost, vault holds %q", r.head)
	}
	if m, err = create(r.fs, "d", shopData, r.size()); err != nil {
		return nil, err
	}
	disk := r.disk
	r.disk = r.held
	err = r.scan(m, make([]byte, len(disk)))
	r.disk = disk
	if err != nil || r.head == "" {
		return m, err
	}
	if err := m.Stage(r.head); err != nil {
		return nil, err
	}
	return m, m.Apply()
}

// cycle is one replication cycle; it ends early when the power fails.
func (r *rig) cycle(m *Map) error {
	r.next++
	id := fmt.Sprintf("c%d", r.next)
	sent := slices.Clone(r.held)
	if err := r.scan(m, sent); err != nil {
		return err
	}
	if err := m.Stage(id); err != nil {
		return err
	}
	if r.rng.IntN(4) == 0 {
		return m.Discard() // the vault refused
	}
	r.held, r.head = sent, id
	if !slices.Equal(r.held, r.disk) {
		r.t.Fatalf("vault holds %v\ndisk is     %v", r.held, r.disk)
	}
	return m.Apply()
}

// run makes some cycles with the power failing after a number of operations, then checks the map.
func (r *rig) run(cycles, failAt int) (ops int) {
	m, err := r.open(false)
	if err == nil {
		r.write()
		err = r.cycle(m) // without a failure, so that there is something to lose
	}
	if err != nil {
		r.t.Fatal(err)
	}
	committed := r.head != ""
	r.fs.left = failAt
	for range cycles {
		r.write()
		if err := r.cycle(m); err != nil {
			break
		}
		committed = committed || r.head != ""
	}
	ops = failAt - r.fs.left
	r.fs.restart()
	// Stage had returned for whatever the vault holds, so that the map must be there.
	if m, err = r.open(committed); err != nil {
		r.t.Fatal(err)
	}
	r.write()
	sent := slices.Clone(r.held)
	if err := r.scan(m, sent); err != nil {
		r.t.Fatal(err)
	}
	if !slices.Equal(sent, r.disk) {
		r.t.Fatalf("after the failure: vault would hold %v\ndisk is %v", sent, r.disk)
	}
	return ops
}

func TestPowerFailsAtEveryOperation(t *testing.T) {
	for seed := range uint64(8) {
		total := newRig(t, seed, 40).run(4, 1<<30)
		if total < 10 {
			t.Fatalf("seed %d: only %d operations", seed, total)
		}
		for at := range total {
			newRig(t, seed, 40).run(4, at)
			if t.Failed() {
				t.Fatalf("seed %d, power failed before operation %d of %d", seed, at, total)
			}
		}
	}
}

func TestPowerFailsAnyTime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := newRig(t, rapid.Uint64().Draw(t, "seed"), rapid.IntRange(1, 1100).Draw(t, "blocks"))
		for range rapid.IntRange(1, 3).Draw(t, "failures") {
			r.run(rapid.IntRange(0, 4).Draw(t, "cycles"), rapid.IntRange(0, 60).Draw(t, "operations"))
		}
	})
}

// An interrupted seed, resumed again and again with the disk changing between, holds the disk in the end: durable
// parts lie over each other, and marks come after their part, or never.
func TestSeedIsInterrupted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := newRig(t, rapid.Uint64().Draw(t, "seed"), rapid.IntRange(1, 700).Draw(t, "blocks"))
		layers := make([]byte, len(r.disk)) // what the durable parts amount to
		m, err := create(r.fs, "d", shopData, r.size())
		if err == nil {
			err = m.Stage("seed")
		}
		if err == nil {
			err = m.Apply()
		}
		if err != nil {
			t.Fatal(err)
		}
		for range rapid.IntRange(0, 4).Draw(t, "interruptions") {
			r.write()
			r.fs.left = rapid.IntRange(0, 40).Draw(t, "operations")
			sent := slices.Clone(layers)
			// Some of what was sent is durable, if the power held until it was sent.
			if r.scan(m, sent) == nil {
				copy(layers, sent[:r.rng.IntN(len(sent)+1)])
				for range r.rng.IntN(3) {
					at := r.rng.Int64N(int64(len(layers)))
					if slices.Equal(layers[:at], sent[:at]) {
						_ = m.Mark(0, at*block)
					}
				}
			}
			r.fs.restart()
			var valid bool
			if m, valid, err = open(r.fs, "d", shopData, r.size(), "seed"); err != nil || !valid {
				t.Fatal(valid, err)
			}
		}
		r.write()
		if err := r.scan(m, layers); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(layers, r.disk) {
			t.Fatalf("seed holds %v\ndisk is    %v", layers, r.disk)
		}
	})
}

func benchmarkDiff(b *testing.B, fill func(p []byte)) {
	const size = 256 << 20
	m := mustCreate(b, b.TempDir(), size)
	p := make([]byte, 1<<20)
	fill(p)
	b.SetBytes(int64(len(p)))
	b.ReportAllocs()
	var off int64
	for b.Loop() {
		if err := m.Diff(off, p, func(int64, []byte, bool) error { return nil }); err != nil {
			b.Fatal(err)
		}
		off = (off + int64(len(p))) % size
	}
}

func BenchmarkDiffData(b *testing.B) {
	benchmarkDiff(b, func(p []byte) {
		r := rand.NewChaCha8([32]byte{})
		_, _ = r.Read(p)
	})
}

func BenchmarkDiffZeros(b *testing.B) { benchmarkDiff(b, func([]byte) {}) }

func BenchmarkDiffZero1TiB(b *testing.B) {
	m := mustCreate(b, b.TempDir(), 1<<40)
	for b.Loop() {
		if err := m.DiffZero(0, 1<<40, func(int64, int64) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
}
