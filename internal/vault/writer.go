package vault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"understudy/internal/dr"
	"understudy/internal/vault/blob"
	"understudy/internal/vault/segment"
)

// Spec describes a capture that is being written.
type Spec struct {
	CaptureID string
	Time      time.Time // the instant of the capture
	Known     time.Time // the group is known to have been as captured at this time; zero: Time
	Kind      dr.Consistency
	Skew      time.Duration // between the disks; 0 when they are of one instant
	Machines  []dr.Machine
}

func (s Spec) disks() (disks []segment.DiskSize, names []string, size int64) {
	for _, m := range s.Machines {
		names = append(names, m.Name)
		for _, d := range m.Disks {
			disks = append(disks, segment.DiskSize{ID: dr.DiskID{Machine: m.Name, Disk: d.Name}, Size: d.Size})
			size += d.Size
		}
	}
	return disks, names, size
}

func (s Spec) validate() error {
	if s.CaptureID == "" || s.Time.IsZero() || len(s.Machines) == 0 {
		return dr.WithHint(errors.New("a capture needs an ID, a time and machines"), dr.KindInvalid, "")
	}
	return nil
}

// sink takes the data of a capture: one object, or the parts of a seed.
type sink interface {
	Write(id dr.DiskID, off int64, p []byte) error
	Zero(id dr.DiskID, off, n int64) error
	Changed() int64
	Stored() int64
	// finish completes the one object whose creation commits the point; before is called right before that.
	finish(ctx context.Context, before func() error) (*segment.Trailer, error)
	abort()
	resumed() bool
	committed()
}

// A Writer writes one recovery point. Nothing of it is visible before Commit. Write and Zero may be called from many
// goroutines; the other methods not while they run.
type Writer struct {
	v      *Vault
	l      *Lease // nil in a spool
	spool  *Spool // nil when it writes to the vault
	group  string
	spec   Spec
	header segment.Header
	prev   dr.Position
	to     dr.Position
	name   string
	sink   sink

	mu    sync.Mutex
	ended bool
}

// begin prepares a writer for the position after the head. The caller adds the sink.
func (v *Vault) begin(ctx context.Context, l *Lease, s Spec) (*Writer, *view, error) {
	if err := s.validate(); err != nil {
		return nil, nil, err
	}
	if err := l.check(ctx); err != nil {
		return nil, nil, err
	}
	view, err := v.scan(ctx, l.group)
	if err != nil {
		return nil, nil, err
	}
	var prev dr.Position
	if head := view.head(); head != nil {
		prev = head.to
	}
	// Damaged objects keep their names: history goes on beside them.
	w := v.newWriter(l.group, s, prev, dr.Position{Epoch: l.epoch, Sequence: max(prev.Sequence, view.last) + 1})
	w.l = l
	return w, view, nil
}

func (v *Vault) newWriter(group string, s Spec, prev, to dr.Position) *Writer {
	w := &Writer{v: v, group: group, spec: s, prev: prev, to: to, name: pointName(group, to)}
	_, names, size := s.disks()
	known := s.Known
	if known.IsZero() {
		known = s.Time
	}
	w.header = segment.Header{Format: segment.Format, Object: segment.ObjectSegment, Vault: v.id, Group: group,
		To: segment.Position{Epoch: w.to.Epoch, Sequence: w.to.Sequence}, Capture: s.CaptureID, Time: s.Time.UTC(), Known: known.UTC(),
		Kind: s.Kind, Skew: s.Skew, Machines: names, Size: size, Salt: randomBytes(16)}
	return w
}

// BeginDelta begins a point that holds what changed since the group's head. Without a head it is a dr.KindConflict.
func (v *Vault) BeginDelta(ctx context.Context, l *Lease, s Spec) (*Writer, error) {
	w, _, err := v.begin(ctx, l, s)
	if err != nil {
		return nil, fmt.Errorf("begin delta of group %s: %w", l.group, err)
	}
	if w.prev.IsZero() {
		return nil, dr.WithHint(fmt.Errorf("begin delta of group %s: there is no point to add to", l.group), dr.KindConflict, "a seed comes first")
	}
	if err := w.beginDelta(ctx, v.lockedStore(l.lockUntil(s.Time))); err != nil {
		return nil, fmt.Errorf("begin delta of group %s: %w", l.group, err)
	}
	return w, nil
}

// beginDelta gives the writer its sink: one object of a store.
func (w *Writer) beginDelta(ctx context.Context, store blob.Store) error {
	prev := segment.NewPosition(w.prev)
	w.header.Prev = &prev
	key, wrapped, err := w.v.newKey()
	if err != nil {
		return err
	}
	w.header.Key = wrapped
	disks, _, _ := w.spec.disks()
	up := uploadTo(ctx, store, w.name)
	sw, err := segment.NewWriter(up, segment.WriterOptions{Header: w.header, Key: key, Codec: w.v.codec, Disks: disks})
	if err != nil {
		up.abort()
		return unavailable(err)
	}
	w.sink = &deltaSink{Writer: sw, up: up, machines: w.spec.Machines}
	return nil
}

// deltaSink streams one segment into one object.
type deltaSink struct {
	*segment.Writer
	up       *upload
	machines []dr.Machine
}

func (d *deltaSink) finish(_ context.Context, before func() error) (*segment.Trailer, error) {
	desc, err := json.Marshal(d.machines)
	if err != nil {
		d.abort()
		return nil, err
	}
	r, err := d.Finish(segment.Finish{Description: desc, Before: before})
	if err != nil {
		d.abort()
		return nil, err
	}
	return r.Trailer, d.up.finish()
}

func (d *deltaSink) abort() {
	d.up.closeWrite(errAborted) // first, so that nothing waits for the store
	d.Abort()
	d.up.abort()
}

func (d *deltaSink) resumed() bool { return false }
func (d *deltaSink) committed()    {}

// Write adds data of a disk from offset off. Offset and length are multiples of dr.BlockSize, except that the last block
// of a disk may be short. Of two writes to the same block the later one counts. p is not retained.
func (w *Writer) Write(id dr.DiskID, off int64, p []byte) error {
	if err := w.sink.Write(id, off, p); err != nil {
		return fmt.Errorf("write point %s of group %s: %w", w.to.ID(), w.group, unavailable(err))
	}
	return nil
}

// Zero records that a range of a disk reads as zeros.
func (w *Writer) Zero(id dr.DiskID, off, n int64) error {
	if err := w.sink.Zero(id, off, n); err != nil {
		return fmt.Errorf("write point %s of group %s: %w", w.to.ID(), w.group, unavailable(err))
	}
	return nil
}

// Changed is the number of bytes of disk written so far, zeros included.
func (w *Writer) Changed() int64 { return w.sink.Changed() }

// Stored is the number of bytes handed to the store so far.
func (w *Writer) Stored() int64 { return w.sink.Stored() }

// Resumed reports whether parts of an interrupted seed are kept.
func (w *Writer) Resumed() bool { return w.sink.resumed() }

// Abort ends the writer without a point. The durable parts of a seed stay, for the next BeginSeed with its journal.
func (w *Writer) Abort() error {
	if w.end() {
		w.sink.abort()
	}
	return nil
}

func (w *Writer) end() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	first := !w.ended
	w.ended = true
	return first
}

// Commit makes the point durable and visible, in one step. The lease and the owner are checked right before it, and the
// owner again after it: a point whose epoch ended meanwhile is dr.KindFenced, and not part of history. When the point
// exists already with the same capture ID, that is success.
func (w *Writer) Commit(ctx context.Context) (dr.RecoveryPoint, error) {
	if !w.end() {
		return dr.RecoveryPoint{}, errors.New("commit: the writer has ended")
	}
	p, err := w.commit(ctx)
	if err != nil {
		return p, fmt.Errorf("commit point %s of group %s: %w", w.to.ID(), w.group, unavailable(err))
	}
	w.v.log.Debug("point committed", "group", w.group, "point", p.ID, "changed", p.Changed, "stored", p.Bytes)
	return p, nil
}

func (w *Writer) commit(ctx context.Context) (dr.RecoveryPoint, error) {
	trailer, err := w.sink.finish(ctx, func() error {
		if w.spool != nil {
			return nil // the owner is asked when the vault gets it
		}
		return w.l.check(ctx)
	})
	if err != nil && trailer == nil {
		return dr.RecoveryPoint{}, err
	}
	o := &object{name: w.name, header: &w.header, trailer: trailer, from: w.prev, to: w.to}
	if w.header.Base() {
		o.from = dr.Position{}
	}
	if trailer != nil {
		o.size = trailer.Size
		o.to.Chain = segment.Chain(o.from.Chain, trailer.Digest)
	}
	if err != nil {
		// Either it existed, or the answer was lost: what is there decides.
		stored, serr := w.stored(ctx)
		if serr != nil {
			if w.spool != nil {
				w.spool.group(w.group).stale = true
			}
			return dr.RecoveryPoint{}, err
		}
		if stored.header.Capture != w.spec.CaptureID {
			return dr.RecoveryPoint{}, dr.WithHint(fmt.Errorf("capture %s is there already: %w", stored.header.Capture, err), dr.KindConflict,
				"another controller replicates this group: stop one of them")
		}
		o = stored
	}
	if w.spool != nil {
		w.spool.add(w.group, o)
		return o.point(), nil
	}
	if err := w.l.confirm(ctx, o.to); err != nil {
		return dr.RecoveryPoint{}, err
	}
	w.v.mu.Lock()
	w.v.heads[o.name] = o
	w.v.mu.Unlock()
	w.sink.committed()
	return o.point(), nil
}

// stored reads the object that is at the writer's name now.
func (w *Writer) stored(ctx context.Context) (*object, error) {
	store := w.v.store
	if w.spool != nil {
		store = w.spool.local
	}
	info, err := store.Stat(ctx, w.name)
	if errors.Is(err, blob.ErrNotFound) {
		return nil, err
	}
	if err != nil {
		return nil, unavailable(err)
	}
	o, _, err := w.v.readObjectIn(ctx, store, w.group, w.name, info.Size, segment.TrailerSize)
	return o, err
}
