package vault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"understudy/internal/dr"
	"understudy/internal/vault/blob"
	"understudy/internal/vault/segment"
)

// Errors of a spool, wrapped.
var (
	// ErrSpoolFull says that a point does not fit in the spool any more.
	ErrSpoolFull = errors.New("spool is full")
	// ErrRefused says that history went on without what was spooled, which is dropped: it can never be part of it.
	ErrRefused = errors.New("what was spooled is refused")
)

// A Spool keeps segments of a vault's groups in a store nearby until the vault's store has taken them, so that captures
// go on while that is away. A segment is made complete here, with its place in history, and is put into the vault
// unchanged and in order. Until then it is no recovery point. Writing here needs no lease: only the vault says what is
// part of history, and it is asked for each segment that is put there.
//
// A group is used by one process at a time, and its Head, Begin, Commit and Drain not at once; State at any time.
type Spool struct {
	v     *Vault
	local blob.Store
	limit int64 // bytes

	mu     sync.Mutex
	used   int64
	groups map[string]*spooled
	away   Away
	next   time.Time // when the vault is to be tried again
}

// spooled is one group of a spool.
type spooled struct {
	tip   *tip      // the newest position of the vault that is known here; nil when none is
	held  *Lease    // under which the tip was seen: while that is held nobody else adds to the group
	queue []*object // what the vault does not have, in order
	stale bool      // whether the last segment is in the local store is not known
	large bool      // the next segment goes to the vault directly: the one before did not fit
}

// tip is the vault's newest position of a group, as it was last seen: what is spooled continues it. It is kept in the
// spool's store, so that captures go on when a process starts while the vault is away.
type tip struct {
	Format   int              `json:"format"`
	Epoch    uint64           `json:"epoch"` // of the lease
	Position segment.Position `json:"position"`
	Last     uint64           `json:"last"` // highest sequence in use
	Capture  string           `json:"capture"`
	Time     time.Time        `json:"time"`
	Known    time.Time        `json:"known"`
	Kind     dr.Consistency   `json:"kind"`
	to       dr.Position
}

// Away says since when a vault's store cannot be reached, and why; Since is zero when it can.
type Away struct {
	Since time.Time
	Cause error
}

// SpoolState is what waits in a spool.
type SpoolState struct {
	Points int
	Bytes  int64
	Newest time.Time // instant of the newest that waits
	Away   Away
}

const spoolHint = "bring the vault's storage back; `understudy status` says what waits for it"

// retryAway is how long an unreachable vault is left alone before it is tried again.
const retryAway = 15 * time.Second

// NewSpool opens the spool in a local store, which is the vault's alone. It holds up to limit bytes.
func (v *Vault) NewSpool(ctx context.Context, local blob.Store, limit int64) (*Spool, error) {
	s := &Spool{v: v, local: local, limit: limit, groups: map[string]*spooled{}}
	err := local.List(ctx, "g/", func(i blob.Info) error {
		name, _, _ := strings.Cut(strings.TrimPrefix(i.Name, "g/"), "/")
		s.group(name)
		return nil
	})
	for name, g := range s.groups {
		if err == nil {
			err = s.load(ctx, name, g)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("open spool of vault %s: %w", v.id, err)
	}
	return s, nil
}

// load reads what waits of a group.
func (s *Spool) load(ctx context.Context, group string, g *spooled) error {
	var queue []*object
	var size int64
	err := s.local.List(ctx, "g/"+group+"/p/", func(i blob.Info) error {
		o, _, err := s.v.readObjectIn(ctx, s.local, group, i.Name, i.Size, segment.TrailerSize)
		if err != nil && dr.KindOf(err) == dr.KindCorrupt {
			o, err = &object{name: i.Name, size: i.Size, err: err}, nil
			o.to, _ = parsePosition(i.Name)
		}
		queue, size = append(queue, o), size+i.Size
		return err
	})
	if err != nil {
		return err
	}
	if g.tip, err = s.readTip(ctx, group); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range g.queue {
		s.used -= o.size
	}
	s.used += size
	g.queue, g.stale = queue, false
	return nil
}

func (s *Spool) group(name string) *spooled {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.groups[name] == nil {
		s.groups[name] = &spooled{}
	}
	return s.groups[name]
}

// Away records that the vault could not be reached.
func (s *Spool) Away(cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.v.now()
	if s.away.Since.IsZero() {
		s.away.Since = now
		s.v.log.Warn("vault cannot be reached: what is captured waits in the spool", "error", cause)
	}
	s.away.Cause, s.next = cause, now.Add(retryAway)
}

// Back records that the vault was reached.
func (s *Spool) Back() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.away.Since.IsZero() {
		s.v.log.Info("vault can be reached again", "away", s.v.now().Sub(s.away.Since))
	}
	s.away = Away{}
}

// Try reports whether the vault is to be tried: one that was away is left alone for a while.
func (s *Spool) Try() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.v.now()
	if !s.away.Since.IsZero() && now.Before(s.next) {
		return false
	}
	s.next = now.Add(retryAway) // one of those that ask
	return true
}

// State says what waits of a group.
func (s *Spool) State(group string) SpoolState {
	g := s.group(group)
	s.mu.Lock()
	defer s.mu.Unlock()
	st := SpoolState{Points: len(g.queue), Away: s.away}
	for _, o := range g.queue {
		st.Bytes += o.size
		if o.header != nil {
			st.Newest = o.header.Time
		}
	}
	return st
}

// Head is Vault.Head with what is spooled: the position that the next segment continues. The vault is asked when nothing
// waits and there is a lease, unless it was seen under that lease: listing costs as much as writing.
func (s *Spool) Head(ctx context.Context, l *Lease, group string) (Head, error) {
	g := s.group(group)
	if g.stale {
		if err := s.load(ctx, group, g); err != nil {
			return Head{}, fmt.Errorf("read spool of group %s: %w", group, unavailable(err))
		}
	}
	if n := len(g.queue); n > 0 {
		o := g.queue[n-1]
		if o.err != nil { // it is dropped by Drain
			return Head{}, dr.WithHint(fmt.Errorf("a spooled segment of group %s is damaged: %w", group, o.err), dr.KindUnavailable, spoolHint)
		}
		return Head{Point: o.point(), CaptureID: o.header.Capture, Known: o.header.Known}, nil
	}
	if l != nil && (g.tip == nil || g.held != l || g.tip.Epoch != l.epoch) {
		w, err := s.v.scan(ctx, group)
		if err != nil {
			return Head{}, err
		}
		o := w.head()
		if o == nil {
			return Head{}, noPoint(group)
		}
		t := tipOf(o, l.epoch)
		t.Last = max(t.Last, w.last)
		if g.tip == nil || g.tip.to != t.to || g.tip.Epoch != t.Epoch || g.tip.Last != t.Last {
			err = s.putTip(ctx, group, t)
		}
		if err == nil {
			g.held = l
		}
		return Head{Point: w.info(o.to), CaptureID: o.header.Capture, Known: o.header.Known}, err
	}
	if g.tip == nil {
		return Head{}, dr.WithHint(fmt.Errorf("the vault cannot be reached, and what is newest in it of group %s is not known here: %w", group, s.State(group).Away.Cause),
			dr.KindUnavailable, spoolHint)
	}
	t := g.tip
	return Head{Point: dr.RecoveryPoint{ID: t.to.ID(), Group: group, Time: t.Time, Kind: t.Kind, Position: t.to}, CaptureID: t.Capture, Known: t.Known}, nil
}

// Begin begins a segment after the position that Head returned.
func (s *Spool) Begin(ctx context.Context, group string, spec Spec) (*Writer, error) {
	if err := spec.validate(); err != nil {
		return nil, err
	}
	g := s.group(group)
	if g.tip == nil {
		return nil, dr.WithHint(fmt.Errorf("begin spooled delta of group %s: there is no point to add to", group), dr.KindConflict, "a seed comes first")
	}
	prev, last := g.tip.to, g.tip.Last
	if n := len(g.queue); n > 0 {
		prev, last = g.queue[n-1].to, g.queue[n-1].to.Sequence
	}
	w := s.v.newWriter(group, spec, prev, dr.Position{Epoch: g.tip.Epoch, Sequence: max(prev.Sequence, last) + 1})
	w.spool = s
	if err := w.beginDelta(ctx, bounded{s.local, s}); err != nil {
		return nil, fmt.Errorf("begin spooled delta of group %s: %w", group, err)
	}
	return w, nil
}

// add takes note of a segment that is in the local store.
func (s *Spool) add(group string, o *object) {
	g := s.group(group)
	s.mu.Lock()
	defer s.mu.Unlock()
	g.queue = append(g.queue, o)
}

// Direct reports whether the next segment of a group has to be written to the vault itself, since it did not fit here.
// What it promises to do is forgotten then.
func (s *Spool) Direct(group string) bool {
	g := s.group(group)
	direct := g.large
	g.large = false
	return direct
}

// TooLarge has the next segment of a group written to the vault itself, if there is nothing that waits to be before it.
func (s *Spool) TooLarge(group string) {
	g := s.group(group)
	g.large = len(g.queue) == 0
}

// Bypass is called before something is written to the vault itself. Whether that took place is not known when its answer
// is lost, so that nothing can be spooled again until the vault was asked.
func (s *Spool) Bypass(ctx context.Context, group string) error {
	g := s.group(group)
	if len(g.queue) > 0 {
		return dr.WithHint(fmt.Errorf("%d points of group %s wait in the spool, and are to come first", len(g.queue), group), dr.KindUnavailable, spoolHint)
	}
	if err := s.local.Delete(ctx, tipName(group)); err != nil {
		return fmt.Errorf("spool: %w", unavailable(err))
	}
	g.tip, g.held = nil, nil
	return nil
}

// Drain puts what waits of the lease's group into the vault, the oldest first, until more says no, or nothing is left. It
// returns the newest point that it put there, if any. With ErrRefused what waited is gone.
func (s *Spool) Drain(ctx context.Context, l *Lease, more func() bool) (newest *dr.RecoveryPoint, err error) {
	g := s.group(l.group)
	for len(g.queue) > 0 && more() {
		o := g.queue[0]
		if err = s.put(ctx, l, o, g.held != l || g.tip == nil || g.tip.to != o.from); err != nil {
			break
		}
		p := o.point()
		newest = &p
		// The tip first: a process that is killed here finds the segment in the vault, and drops it.
		if err = s.putTip(ctx, l.group, tipOf(o, l.epoch)); err == nil {
			g.held = l
			err = s.drop(ctx, g, 0)
		}
		if err != nil {
			break
		}
	}
	if errors.Is(err, ErrRefused) {
		err = s.refuse(ctx, l.group, g, err)
	}
	if err != nil {
		return newest, fmt.Errorf("drain spool of group %s: %w", l.group, unavailable(err))
	}
	return newest, nil
}

// Refuse drops what waits of a group that another site has taken over.
func (s *Spool) Refuse(ctx context.Context, group string, cause error) error {
	g := s.group(group)
	if len(g.queue) == 0 {
		return cause
	}
	return s.refuse(ctx, group, g, cause)
}

func (s *Spool) refuse(ctx context.Context, group string, g *spooled, cause error) error {
	n := len(g.queue)
	s.v.log.Error("spooled points are refused", "group", group, "points", n, "error", cause)
	err := s.local.Delete(ctx, tipName(group))
	for err == nil && len(g.queue) > 0 { // the newest first: what stays behind after a kill is refused again
		err = s.drop(ctx, g, len(g.queue)-1)
	}
	g.tip, g.held = nil, nil
	return dr.WithHint(errors.Join(fmt.Errorf("%d spooled points are dropped: %w", n, cause), err), dr.KindOf(cause), dr.Hint(cause))
}

// drop removes a segment from the spool.
func (s *Spool) drop(ctx context.Context, g *spooled, i int) error {
	o := g.queue[i]
	if err := s.local.Delete(ctx, o.name); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	g.queue = slices.Delete(g.queue, i, i+1)
	s.used -= o.size
	return nil
}

// put makes a spooled segment a recovery point, in the same steps as a writer's Commit. A segment that was put there
// before, whose answer was lost, is found. What is newest is asked unless it was seen under the lease, which holds others off.
func (s *Spool) put(ctx context.Context, l *Lease, o *object, ask bool) error {
	refused := func(kind dr.Kind, hint, format string, args ...any) error {
		return dr.WithHint(fmt.Errorf("point %s: %s: %w", o.to.ID(), fmt.Sprintf(format, args...), ErrRefused), kind, hint)
	}
	const resync = "the next cycle compares everything and sends the difference"
	switch {
	case o.err != nil:
		return refused(dr.KindCorrupt, resync, "it is damaged: %v", o.err)
	case o.to.Epoch != l.epoch:
		return refused(dr.KindFenced, resync, "it is of epoch %d, and the group is at epoch %d", o.to.Epoch, l.epoch)
	}
	if err := l.check(ctx); err != nil {
		if dr.KindOf(err) == dr.KindFenced {
			err = refused(dr.KindFenced, dr.Hint(err), "%v", err)
		}
		return err
	}
	if ask {
		w, err := s.v.scan(ctx, l.group)
		if err != nil {
			return err
		}
		head := w.head()
		switch {
		case head != nil && head.to == o.to: // it is there
			return s.confirm(ctx, l, o, refused)
		case head == nil || head.to != o.from:
			return refused(dr.KindConflict, "another controller replicated this group: stop one of them. "+resync, "the vault's newest point is not the one before it")
		}
	}
	// What the disk here has spoiled must not become a point.
	_, f, err := s.v.readObjectIn(ctx, s.local, l.group, o.name, o.size, segment.TrailerSize)
	if err == nil {
		err = f.Check(nil)
	}
	if err != nil && dr.KindOf(err) == dr.KindCorrupt {
		return refused(dr.KindCorrupt, resync, "it is damaged: %v", err)
	}
	if err != nil {
		return err
	}
	before := func() error { return l.check(ctx) }
	_, err = s.v.lockedStore(l.lockUntil(o.header.Time)).Create(ctx, o.name, &lastly{r: io.NewSectionReader(objectReader{ctx, s.local, o.name}, 0, o.size), left: o.size, before: before})
	if err != nil {
		w := Writer{v: s.v, group: l.group, name: o.name}
		stored, serr := w.stored(ctx)
		switch {
		case serr == nil && stored.to != o.to || dr.KindOf(serr) == dr.KindCorrupt:
			return refused(dr.KindConflict, "another controller replicated this group: stop one of them. "+resync, "its place is taken")
		case serr != nil && dr.KindOf(err) == dr.KindFenced:
			return refused(dr.KindFenced, dr.Hint(err), "%v", err)
		case serr != nil:
			return err
		}
	}
	return s.confirm(ctx, l, o, refused)
}

func (s *Spool) confirm(ctx context.Context, l *Lease, o *object, refused func(dr.Kind, string, string, ...any) error) error {
	err := l.confirm(ctx, o.to)
	if dr.KindOf(err) == dr.KindFenced && err != nil {
		return refused(dr.KindFenced, dr.Hint(err), "%v", err)
	}
	return err
}

func tipName(group string) string { return "g/" + group + "/tip" }

func tipOf(o *object, epoch uint64) *tip {
	return &tip{Format: formatVersion, Epoch: epoch, Position: segment.NewPosition(o.to), Last: o.to.Sequence, Capture: o.header.Capture,
		Time: o.header.Time, Known: o.header.Known, Kind: o.header.Kind, to: o.to}
}

func (s *Spool) readTip(ctx context.Context, group string) (*tip, error) {
	data, _, err := s.local.GetTagged(ctx, tipName(group))
	if errors.Is(err, blob.ErrNotFound) || err != nil && dr.KindOf(err) == dr.KindCorrupt {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	t := &tip{}
	if err := json.Unmarshal(data, t); err != nil || t.Format != formatVersion {
		return nil, nil // the vault is asked before anything else is spooled
	}
	if t.to, err = t.Position.Value(); err != nil {
		return nil, nil
	}
	return t, nil
}

// putTip replaces the tip. There is nobody else who does.
func (s *Spool) putTip(ctx context.Context, group string, t *tip) error {
	data, err := json.Marshal(t)
	if err != nil {
		return err
	}
	_, tag, err := s.local.GetTagged(ctx, tipName(group))
	if err != nil && !errors.Is(err, blob.ErrNotFound) {
		return fmt.Errorf("spool: %w", unavailable(err))
	}
	if _, err := s.local.PutTagged(ctx, tipName(group), data, tag); err != nil {
		return fmt.Errorf("spool: %w", unavailable(err))
	}
	s.group(group).tip = t
	return nil
}

// bounded is the spool's store with its limit.
type bounded struct {
	blob.Store
	s *Spool
}

// Create implements blob.Store.
func (b bounded) Create(ctx context.Context, name string, r io.Reader) (blob.Info, error) {
	m := &metered{r: r, s: b.s}
	info, err := b.Store.Create(ctx, name, m)
	if err != nil {
		b.s.mu.Lock()
		b.s.used -= m.n
		b.s.mu.Unlock()
	}
	return info, err
}

// metered counts what goes into the spool, and fails when that is full.
type metered struct {
	r io.Reader
	s *Spool
	n int64
}

// Read implements io.Reader.
func (m *metered) Read(p []byte) (int, error) {
	n, err := m.r.Read(p)
	m.s.mu.Lock()
	defer m.s.mu.Unlock()
	m.n += int64(n)
	if m.s.used += int64(n); m.s.used > m.s.limit {
		return 0, dr.WithHint(fmt.Errorf("%w: it may hold %d bytes", ErrSpoolFull, m.s.limit), dr.KindUnavailable,
			"bring the vault's storage back, or allow more with spool=SIZE in the vault's URL")
	}
	return n, err
}

// lastly reads r, whose size is known, and calls before ahead of its last bytes.
type lastly struct {
	r      io.Reader
	left   int64
	before func() error
}

// Read implements io.Reader.
func (l *lastly) Read(p []byte) (int, error) {
	if l.left > 0 && l.left <= int64(len(p)) {
		if err := l.before(); err != nil {
			return 0, err
		}
	}
	n, err := l.r.Read(p)
	l.left -= int64(n)
	return n, err
}
