package vault

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"
	"sync/atomic"

	"understudy/internal/dr"
	"understudy/internal/vault/blob"
	"understudy/internal/vault/segment"
)

// BeginSeed begins a base: a point that holds all data. It is stored in parts, and journal (a local file) remembers
// those that are durable: a seed that was interrupted goes on when the journal belongs to the same place in the history
// of the group, in which case Resumed is true and earlier parts lie under what is written now. onPart, if any, is told
// after each part which extents are durable; its calls do not overlap.
func (v *Vault) BeginSeed(ctx context.Context, l *Lease, s Spec, journal string, onPart func(extents map[dr.DiskID][]dr.Extent) error) (*Writer, error) {
	w, _, err := v.begin(ctx, l, s)
	if err != nil {
		return nil, fmt.Errorf("begin seed of group %s: %w", l.group, err)
	}
	w.prev = dr.Position{}
	sink, err := v.beginSeed(ctx, w, journal, onPart)
	if err != nil {
		return nil, fmt.Errorf("begin seed of group %s: %w", l.group, err)
	}
	w.header.Seed, w.header.Key = sink.j.seed.Seed, sink.j.seed.Wrapped
	sink.header = &w.header
	w.sink = sink
	return w, nil
}

func (v *Vault) beginSeed(ctx context.Context, w *Writer, path string, onPart func(map[dr.DiskID][]dr.Extent) error) (*seedSink, error) {
	want := journalSeed{Format: formatVersion, Vault: v.id, Group: w.group, Epoch: w.to.Epoch, Sequence: w.to.Sequence}
	j, err := openJournal(path, want)
	if err != nil {
		return nil, err
	}
	if j != nil {
		whole, err := v.partsExist(ctx, j)
		if err != nil || !whole {
			j.f.Close()
			j = nil
		}
		if err != nil {
			return nil, err
		}
	}
	resumed := j != nil && len(j.parts) > 0
	if j == nil {
		want.Seed = positionName(w.to) + "-" + randomID() // the position tells when an abandoned seed is garbage
		if want.Key, want.Wrapped, err = v.newKey(); err != nil {
			return nil, err
		}
		if j, err = createJournal(path, want); err != nil {
			return nil, err
		}
	}
	disks, _, _ := w.spec.disks()
	s := &seedSink{v: v, ctx: ctx, group: w.group, name: w.name, to: w.to, j: j, path: path, disks: disks,
		store: v.lockedStore(w.l.lockUntil(v.now())), machines: w.spec.Machines, onPart: onPart, again: resumed, turn: make(chan struct{}, 1)}
	for _, p := range j.parts {
		s.durable.Add(p.Size)
	}
	return s, nil
}

// partsExist reports whether the store has all parts of a journal.
func (v *Vault) partsExist(ctx context.Context, j *journal) (bool, error) {
	sizes := make(map[string]int64)
	err := v.store.List(ctx, "g/"+j.seed.Group+"/s/"+j.seed.Seed+"/", func(i blob.Info) error {
		sizes[i.Name] = i.Size
		return nil
	})
	if err != nil {
		return false, unavailable(err)
	}
	for _, p := range j.parts {
		if sizes[partName(j.seed.Group, j.seed.Seed, p.Number)] != p.Size {
			return false, nil
		}
	}
	return true, nil
}

// seedSink streams a seed into parts. While one part is completed by the store, the next one is being filled.
type seedSink struct {
	v        *Vault
	store    blob.Store
	ctx      context.Context
	group    string
	name     string // of the object that commits
	to       dr.Position
	header   *segment.Header
	j        *journal
	path     string
	disks    []segment.DiskSize
	machines []dr.Machine
	onPart   func(map[dr.DiskID][]dr.Extent) error
	again    bool

	mu      sync.Mutex // held while writing; cur is the part being filled
	cur     *seedPart
	failed  error
	pending sync.WaitGroup
	turn    chan struct{} // held by the part being completed, so that parts become durable in order

	failMu sync.Mutex
	fail   error // of completing a part

	changed atomic.Int64
	durable atomic.Int64
}

type seedPart struct {
	*segment.Writer
	up     *upload
	number uint32
}

func (s *seedSink) Write(id dr.DiskID, off int64, p []byte) error {
	return s.put(int64(len(p)), func(w *segment.Writer) error { return w.Write(id, off, p) })
}

func (s *seedSink) Zero(id dr.DiskID, off, n int64) error {
	return s.put(n, func(w *segment.Writer) error { return w.Zero(id, off, n) })
}

func (s *seedSink) put(n int64, write func(*segment.Writer) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.err(); err != nil {
		return err
	}
	if s.cur == nil {
		if s.failed = s.open(); s.failed != nil {
			return s.failed
		}
	}
	if err := write(s.cur.Writer); err != nil {
		return err
	}
	s.changed.Add(n)
	if s.cur.Stored() >= s.v.o.PartBytes {
		s.roll()
	}
	return nil
}

func (s *seedSink) err() error {
	if s.failed != nil {
		return s.failed
	}
	s.failMu.Lock()
	defer s.failMu.Unlock()
	return s.fail
}

// open begins the next part. Its number is used up first, so that no two objects ever have the same name.
func (s *seedSink) open() error {
	n, err := s.j.begin()
	if err != nil {
		return err
	}
	up := uploadTo(s.ctx, s.store, partName(s.group, s.j.seed.Seed, n))
	w, err := segment.NewWriter(up, segment.WriterOptions{Key: s.j.seed.Key, Codec: s.v.codec, Disks: s.disks, Bulk: true, Header: segment.Header{
		Format: segment.Format, Object: segment.ObjectPart, Vault: s.v.id, Group: s.group,
		To:   segment.Position{Epoch: s.to.Epoch, Sequence: s.to.Sequence},
		Seed: s.j.seed.Seed, Part: n, Salt: randomBytes(16), Key: s.j.seed.Wrapped,
	}})
	if err != nil {
		up.abort()
		return err
	}
	s.cur = &seedPart{Writer: w, up: up, number: n}
	return nil
}

// roll completes the current part in the background. At most one part is being completed.
func (s *seedSink) roll() {
	part := s.cur
	s.cur = nil
	s.turn <- struct{}{}
	s.pending.Add(1)
	go func() {
		defer s.pending.Done()
		defer func() { <-s.turn }()
		if err := s.complete(part); err != nil {
			s.failMu.Lock()
			s.fail = cmp.Or(s.fail, err)
			s.failMu.Unlock()
		}
	}()
}

func (s *seedSink) complete(p *seedPart) error {
	s.failMu.Lock()
	err := s.fail
	s.failMu.Unlock()
	if err != nil {
		p.abort()
		return err
	}
	r, err := p.Finish(segment.Finish{})
	if err != nil {
		p.abort()
		return err
	}
	if err := p.up.finish(); err != nil {
		return fmt.Errorf("store part %d: %w", p.number, err)
	}
	part := segment.Part{Number: p.number, HeaderLen: uint32(r.Trailer.HeaderLen), Size: r.Trailer.Size, Header: r.Trailer.Header, Digest: r.Trailer.Digest}
	if err := s.j.done(part, r.Index); err != nil {
		return err
	}
	s.durable.Add(r.Trailer.Size)
	if s.onPart == nil {
		return nil
	}
	extents := make(map[dr.DiskID][]dr.Extent)
	for _, d := range r.Index.Disks {
		for _, run := range d.Runs {
			off := int64(run.Block) * dr.BlockSize
			extents[d.ID] = append(extents[d.ID], dr.Extent{Offset: off, Length: min(int64(run.End())*dr.BlockSize, d.Size) - off, Zero: run.Zero})
		}
	}
	return s.onPart(extents)
}

func (p *seedPart) abort() {
	p.up.closeWrite(errAborted)
	p.Abort()
	p.up.abort()
}

func (s *seedSink) Changed() int64 { return s.changed.Load() }

func (s *seedSink) Stored() int64 {
	n := s.durable.Load()
	if s.mu.TryLock() { // the part being filled counts when nobody is filling it just now
		if s.cur != nil {
			n += s.cur.Stored()
		}
		s.mu.Unlock()
	}
	return n
}

func (s *seedSink) resumed() bool { return s.again }

// finish completes the last part and creates the object that lists the parts and commits the point.
func (s *seedSink) finish(ctx context.Context, before func() error) (*segment.Trailer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cur != nil {
		s.roll()
	}
	s.pending.Wait()
	defer s.j.f.Close()
	if err := s.err(); err != nil {
		return nil, err
	}
	number, err := s.j.begin()
	if err != nil {
		return nil, err
	}
	desc, err := json.Marshal(s.machines)
	if err != nil {
		return nil, err
	}
	s.header.Part = number
	f := segment.Finish{Description: desc, Parts: s.j.parts, Index: s.index(), Before: before}
	for _, p := range s.j.parts {
		f.PartsStored += p.Size
	}
	up := uploadTo(ctx, s.store, s.name)
	w, err := segment.NewWriter(up, segment.WriterOptions{Header: *s.header, Key: s.j.seed.Key, Codec: s.v.codec, Disks: s.disks})
	if err != nil {
		up.abort()
		return nil, err
	}
	r, err := w.Finish(f)
	if err != nil {
		(&seedPart{Writer: w, up: up}).abort()
		return nil, err
	}
	return r.Trailer, up.finish()
}

// index lays the parts over each other. Zeros are left out: a base reads as zeros where it holds nothing.
func (s *seedSink) index() *segment.Index {
	x := &segment.Index{}
	layers := make(map[dr.DiskID][][]segment.Run)
	var frames uint32
	for _, p := range s.j.index {
		x.Parts = append(x.Parts, p.Parts...)
		for _, d := range p.Disks {
			runs := slices.Clone(d.Runs)
			for i := range runs {
				if !runs[i].Zero {
					runs[i].Frame += frames
				}
			}
			layers[d.ID] = append(layers[d.ID], runs)
		}
		frames += uint32(p.Frames())
	}
	for _, d := range s.disks {
		runs := segment.Flatten(layers[d.ID])
		delete(layers, d.ID)
		runs = slices.DeleteFunc(runs, func(r segment.Run) bool { return r.Zero })
		runs = segment.Clip(runs, uint64(d.Size+dr.BlockSize-1)/dr.BlockSize)
		x.Disks = append(x.Disks, segment.DiskRuns{ID: d.ID, Size: d.Size, Runs: runs})
	}
	slices.SortFunc(x.Disks, func(a, b segment.DiskRuns) int { return a.ID.Compare(b.ID) })
	return x
}

// abort drops the part being filled. The journal and the durable parts stay.
func (s *seedSink) abort() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed = cmp.Or(s.failed, errAborted)
	if s.cur != nil {
		s.cur.abort()
		s.cur = nil
	}
	s.pending.Wait()
	s.j.f.Close()
}

// committed removes the journal: the seed is history.
func (s *seedSink) committed() {
	if err := os.Remove(s.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.v.log.Warn("seed journal stays behind; it is not used again", "path", s.path, "error", err)
	}
}
