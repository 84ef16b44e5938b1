package vault

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"understudy/internal/dr"
	"understudy/internal/vault/blob"
	"understudy/internal/vault/segment"

	"golang.org/x/sync/errgroup"
)

// object is a segment in the store, as its header and trailer describe it.
type object struct {
	name     string
	size     int64
	header   *segment.Header
	trailer  *segment.Trailer
	from, to dr.Position // from is zero for a base
	err      error       // the header or trailer cannot be used; then only name, size and to's numbers are set
}

// point describes the position that the object ends at.
func (o *object) point() dr.RecoveryPoint {
	h := o.header
	p := dr.RecoveryPoint{ID: o.to.ID(), Group: h.Group, Time: h.Time, Kind: h.Kind, Skew: h.Skew, Machines: h.Machines, Size: h.Size,
		Base: h.Base(), Position: o.to, Bytes: o.trailer.Stored, Changed: o.trailer.Changed}
	if h.Merged {
		p.Bytes, p.Changed = h.Bytes, h.Changed
	}
	return p
}

// view is what a group's objects say at one moment.
type view struct {
	group    string
	objects  []*object // usable, part of history, not hidden; ascending by end, then by start
	broken   []*object
	stale    []*object // of an epoch that had ended
	hidden   []*object // marked
	marks    *marks
	retired  map[string]bool         // IDs of points that are not listed
	best     map[dr.Position]*object // the object to take at each position that can be opened
	position []dr.Position           // the keys of best, ascending; of a fork only the side that history went on from
	forks    []string                // IDs at which history forks
	damaged  []*object               // that say what is part of history; only name and err are set
	last     uint64                  // highest sequence number in use, by names
}

// readObject reads an object's header and trailer.
func (v *Vault) readObject(ctx context.Context, group, name string, size, tail int64) (*object, *segment.File, error) {
	return v.readObjectIn(ctx, v.store, group, name, size, tail)
}

func (v *Vault) readObjectIn(ctx context.Context, store blob.Store, group, name string, size, tail int64) (*object, *segment.File, error) {
	f, err := segment.Open(objectReader{ctx, store, name}, size, tail)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", name, err)
	}
	o := &object{name: name, size: size, header: f.Header, trailer: f.Trailer}
	if f.Header.Object != segment.ObjectSegment || f.Header.Vault != v.id || f.Header.Group != group {
		return nil, nil, corrupt(fmt.Errorf("%s: belongs to group %s of vault %s", name, f.Header.Group, f.Header.Vault))
	}
	if o.to, err = f.Header.To.Value(); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", name, err)
	}
	if f.Header.Prev != nil {
		if o.from, err = f.Header.Prev.Value(); err != nil {
			return nil, nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	want := mergedName(group, o.from, o.to)
	if !f.Header.Merged {
		o.to.Chain = segment.Chain(o.from.Chain, f.Trailer.Digest)
		want = pointName(group, o.to)
	}
	if name != want {
		return nil, nil, corrupt(fmt.Errorf("%s: is %s under another name", name, want))
	}
	return o, f, nil
}

// scan lists a group's objects, reads the headers of new ones, and works out what can be opened. The small objects that
// say what is hidden and what is stale may be damaged: then all that is there is shown, as far as it tells what it is.
func (v *Vault) scan(ctx context.Context, group string) (*view, error) {
	if err := checkGroup(group); err != nil {
		return nil, err
	}
	// Marks first: what takes the place of the objects that they hide was there before them.
	marks, err := v.readMarks(ctx, group)
	var damaged []*object
	note := func(name string, err error) {
		v.log.Warn("recovery points are read without a damaged object", "object", name, "error", err, "hint", dr.Hint(err))
		damaged = append(damaged, &object{name: name, err: err})
	}
	if dr.KindOf(err) == dr.KindCorrupt {
		note(marksName(group), err)
		marks, err = marks.without(err), nil
	}
	if err != nil {
		return nil, err
	}
	objects, err := v.objects(ctx, group)
	if err != nil {
		return nil, err
	}
	var owner Owner
	stored, tag, err := v.readOwner(ctx, group)
	if err == nil {
		owner, err = stored.public()
	}
	if dr.KindOf(err) == dr.KindCorrupt {
		note(ownerName(group), err)
		tag, err = "", nil
	}
	if err != nil {
		return nil, err
	}
	if tag == "" {
		owner = Owner{History: inferReigns(objects)}
	}
	w := newView(group, objects, marks, &owner)
	w.damaged = damaged
	return w, nil
}

// objects lists a group's objects and reads the headers of new ones.
func (v *Vault) objects(ctx context.Context, group string) ([]*object, error) {
	var infos []blob.Info
	for _, kind := range []string{"/p/", "/m/"} {
		err := v.store.List(ctx, "g/"+group+kind, func(i blob.Info) error { infos = append(infos, i); return nil })
		if err != nil {
			return nil, fmt.Errorf("list group %s: %w", group, unavailable(err))
		}
	}
	objects := make([]*object, len(infos))
	eg, ectx := errgroup.WithContext(ctx)
	eg.SetLimit(8)
	for i, info := range infos {
		v.mu.Lock()
		objects[i] = v.heads[info.Name]
		v.mu.Unlock()
		if objects[i] == nil || objects[i].size != info.Size {
			eg.Go(func() (err error) { objects[i], err = v.head(ectx, group, info); return err })
		}
	}
	if err := eg.Wait(); err != nil {
		return nil, fmt.Errorf("read group %s: %w", group, err)
	}
	return slices.DeleteFunc(objects, func(o *object) bool { return o == nil }), nil
}

// head reads an object for scan, and remembers it. It returns nil for one that is gone.
func (v *Vault) head(ctx context.Context, group string, info blob.Info) (*object, error) {
	o, _, err := v.readObject(ctx, group, info.Name, info.Size, segment.TrailerSize)
	switch {
	case errors.Is(err, blob.ErrNotFound):
		return nil, nil
	case dr.KindOf(err) == dr.KindCorrupt:
		// Not remembered: it is looked at again, should someone mend it.
		v.log.Error("vault object is damaged", "object", info.Name, "error", err)
		o = &object{name: info.Name, size: info.Size, err: err}
		o.to, _ = parsePosition(info.Name)
		return o, nil
	case err != nil:
		return nil, err
	}
	v.mu.Lock()
	v.heads[info.Name] = o
	v.mu.Unlock()
	return o, nil
}

// parsePosition reads the end position from an object's name.
func parsePosition(name string) (p dr.Position, ok bool) {
	base := name[strings.LastIndexByte(name, '/')+1:]
	n, err := fmt.Sscanf(base, "%d-%d", &p.Epoch, &p.Sequence)
	return p, err == nil && n == 2
}

// newestEpoch is the highest epoch in the names of a group's objects, 0 without any.
func (v *Vault) newestEpoch(ctx context.Context, group string) (newest uint64, err error) {
	for _, kind := range []string{"/p/", "/m/"} {
		err := v.store.List(ctx, "g/"+group+kind, func(i blob.Info) error {
			if p, ok := parsePosition(i.Name); ok {
				newest = max(newest, p.Epoch)
			}
			return nil
		})
		if err != nil {
			return 0, fmt.Errorf("list group %s: %w", group, unavailable(err))
		}
	}
	return newest, nil
}

// newView sorts objects into a view. It is pure.
func newView(group string, objects []*object, marks *marks, owner *Owner) *view {
	w := &view{group: group, marks: marks, retired: make(map[string]bool), best: make(map[dr.Position]*object)}
	hidden := make(map[string]bool)
	for _, b := range marks.Batches {
		for _, name := range b.Objects {
			hidden["g/"+group+"/"+name] = true
		}
	}
	for _, id := range marks.Retired {
		w.retired[id] = true
	}
	for _, o := range objects {
		w.last = max(w.last, o.to.Sequence)
		switch {
		case hidden[o.name]:
			w.hidden = append(w.hidden, o)
		case o.err != nil:
			w.broken = append(w.broken, o)
		case owner != nil && !owner.includes(o.to):
			w.stale = append(w.stale, o)
		default:
			w.objects = append(w.objects, o)
		}
	}
	slices.SortFunc(w.objects, func(a, b *object) int {
		if c := a.to.Compare(b.to); c != 0 {
			return c
		}
		if c := a.from.Compare(b.from); c != 0 {
			return c
		}
		return strings.Compare(a.name, b.name)
	})
	goesOn := make(map[dr.Position]bool)
	for _, o := range w.objects {
		if !o.from.IsZero() && w.best[o.from] == nil {
			continue // what it starts from cannot be opened
		}
		goesOn[o.from] = true
		if w.best[o.to] == nil { // sorted: the first one starts earliest
			w.best[o.to] = o
			w.position = append(w.position, o.to)
		}
	}
	for i := 1; i < len(w.position); {
		a, b := w.position[i-1], w.position[i]
		if a.Compare(b) != 0 {
			i++
			continue
		}
		w.forks = append(w.forks, a.ID())
		drop := i
		if goesOn[b] && !goesOn[a] {
			drop = i - 1
		}
		w.position = slices.Delete(w.position, drop, drop+1)
	}
	return w
}

// head is the newest object that can be opened, or nil.
func (w *view) head() *object {
	if len(w.position) == 0 {
		return nil
	}
	return w.best[w.position[len(w.position)-1]]
}

// path returns the objects that a position is made of, newest first.
func (w *view) path(p dr.Position) []*object {
	var path []*object
	for !p.IsZero() {
		o := w.best[p]
		path = append(path, o)
		p = o.from
	}
	return path
}

// points lists what can be opened and was not retired.
func (w *view) points() []dr.RecoveryPoint {
	var points []dr.RecoveryPoint
	for _, p := range w.position {
		if !w.retired[p.ID()] {
			points = append(points, w.info(p))
		}
	}
	return points
}

// info describes the point at a position.
func (w *view) info(p dr.Position) dr.RecoveryPoint {
	info := w.best[p].point()
	info.Names = w.marks.namesOf(info.ID)
	return info
}

// find returns the position with an ID. A position that cannot be opened is dr.KindCorrupt, saying what spoils it.
func (w *view) find(id string) (dr.Position, error) {
	none := dr.WithHint(fmt.Errorf("group %s has no point %s", w.group, id), dr.KindNotFound, "`understudy points list` shows them")
	for _, p := range w.position {
		switch {
		case p.ID() != id:
		case w.retired[id]: // what ends there is part of newer points
			return dr.Position{}, none
		default:
			return p, nil
		}
	}
	for _, o := range w.broken {
		if o.to.ID() == id {
			return dr.Position{}, fmt.Errorf("point %s of group %s is damaged: %w", id, w.group, o.err)
		}
	}
	for _, o := range w.objects {
		if o.to.ID() == id {
			return dr.Position{}, corrupt(fmt.Errorf("point %s of group %s cannot be opened: %w", id, w.group, w.missing(o)))
		}
	}
	return dr.Position{}, none
}

// gap returns the position that an object which cannot be opened goes back to and that no object ends at.
func (w *view) gap(o *object) dr.Position {
	for {
		i := slices.IndexFunc(w.objects, func(p *object) bool { return p.to == o.from })
		if i < 0 {
			return o.from
		}
		o = w.objects[i]
	}
}

// missing says which link an object that cannot be opened lacks.
func (w *view) missing(o *object) error {
	gap := w.gap(o)
	for _, p := range w.objects {
		if p.to.Compare(gap) == 0 {
			return fmt.Errorf("history forks at %s: what follows continues chain %x, %s has chain %x", gap.ID(), gap.Chain, p.name, p.to.Chain)
		}
	}
	for _, p := range w.broken {
		if p.to.Compare(gap) == 0 {
			return fmt.Errorf("it needs point %s, which is damaged: %w", gap.ID(), p.err)
		}
	}
	return fmt.Errorf("it needs point %s, which is missing", gap.ID())
}

// Head is the newest position of a group.
type Head struct {
	Point     dr.RecoveryPoint
	CaptureID string
	Known     time.Time // the newest time at which the group was known to be as in Point, when that was written
}

// Head returns the newest point of a group that can be opened, or dr.KindNotFound. It needs no identity.
func (v *Vault) Head(ctx context.Context, group string) (Head, error) {
	w, err := v.scan(ctx, group)
	if err != nil {
		return Head{}, err
	}
	o := w.head()
	if o == nil {
		return Head{}, noPoint(group)
	}
	return Head{Point: w.info(o.to), CaptureID: o.header.Capture, Known: o.header.Known}, nil
}

func noPoint(group string) error {
	return dr.WithHint(fmt.Errorf("group %s has no recovery point", group), dr.KindNotFound, "")
}

// Points lists the recovery points of a group, ascending by position. It needs no identity.
func (v *Vault) Points(ctx context.Context, group string) ([]dr.RecoveryPoint, error) {
	w, err := v.scan(ctx, group)
	if err != nil {
		return nil, err
	}
	return w.points(), nil
}
