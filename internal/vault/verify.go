package vault

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"understudy/internal/dr"
	"understudy/internal/vault/blob"
	"understudy/internal/vault/segment"
)

// Report says what Verify found.
type Report struct {
	Objects int      // read
	Bytes   int64    // read
	Corrupt []Damage // ascending by object
	Good    []string // IDs of points that can be opened and whose objects are all sound, ascending by position
	Spoiled []string // IDs of points that are not, ascending by position
	Forks   []string // IDs at which history forks
}

// Damage is an object that is corrupt or missing, and the points that it spoils.
type Damage struct {
	Object string
	Error  string
	Points []string
}

// Verify reads everything that the points of a group are made of and compares digests; with an identity it opens indexes
// and descriptions too. Damage is a finding in the Report, not an error. progress, if any, is told of bytes done and in
// all.
func (v *Vault) Verify(ctx context.Context, group string, progress func(done, total int64)) (Report, error) {
	var r Report
	w, err := v.scan(ctx, group)
	if err != nil {
		return r, fmt.Errorf("verify group %s: %w", group, err)
	}
	var total, done int64
	for _, o := range w.objects {
		total += o.size
		if !o.header.Merged {
			total = total - o.size + o.trailer.Stored
		}
	}
	step := func(n int64) {
		done += n
		if progress != nil {
			progress(min(done, total), total)
		}
	}
	bad := make(map[string]error)
	for _, o := range w.objects {
		if err := ctx.Err(); err != nil {
			return r, err
		}
		read, err := v.verifyObject(ctx, o, step)
		r.Objects += read
		r.Bytes = done
		switch {
		case err == nil:
		case dr.KindOf(err) == dr.KindCorrupt:
			bad[o.name] = err
		case errors.Is(err, blob.ErrNotFound):
			// Compaction deleted it since it was listed: nothing is made of it any more.
		default:
			return r, fmt.Errorf("verify group %s: %w", group, err)
		}
	}
	if progress != nil {
		progress(total, total)
	}
	r.judge(w, bad)
	return r, nil
}

// verifyObject reads an object and, of a seed, its parts. It returns how many objects it read.
func (v *Vault) verifyObject(ctx context.Context, o *object, step func(int64)) (read int, err error) {
	again, f, err := v.readObject(ctx, o.header.Group, o.name, o.size, segment.TailBytes)
	if err != nil {
		return 1, err
	}
	if again.to != o.to {
		return 1, corrupt(fmt.Errorf("%s: changed since it was listed", o.name))
	}
	if err := f.Check(step); err != nil {
		return 1, fmt.Errorf("%s: %w", o.name, err)
	}
	parts, err := f.Parts()
	if err != nil {
		return 1, fmt.Errorf("%s: %w", o.name, err)
	}
	if v.CanRead() {
		l, err := v.openLayer(ctx, o)
		if err != nil {
			return 1, err
		}
		if _, err := l.machines(); err != nil {
			return 1, err
		}
	}
	for i, p := range parts {
		name := partName(o.header.Group, o.header.Seed, p.Number)
		pf, err := segment.Open(objectReader{ctx, v.store, name}, p.Size, segment.TrailerSize)
		if err == nil && (pf.Trailer.Digest != p.Digest || pf.Trailer.Header != p.Header) {
			err = corrupt(fmt.Errorf("is not the part that %s lists", o.name))
		}
		if err == nil {
			err = pf.Check(step)
		}
		if errors.Is(err, blob.ErrNotFound) {
			err = corrupt(err)
		}
		if err != nil {
			return 2 + i, fmt.Errorf("%s: %w", name, unavailable(err))
		}
	}
	return 1 + len(parts), nil
}

// judge fills in which points are good.
func (r *Report) judge(w *view, bad map[string]error) {
	r.Forks = w.forks
	damage := make(map[string]*Damage)
	spoils := func(object string, err error, point string) {
		d := damage[object]
		if d == nil {
			d = &Damage{Object: object, Error: err.Error()}
			damage[object] = d
		}
		if point != "" && !slices.Contains(d.Points, point) {
			d.Points = append(d.Points, point)
		}
	}
	for _, o := range slices.Concat(w.damaged, w.broken) {
		spoils(o.name, o.err, "")
	}
	for name, err := range bad {
		spoils(name, err, "")
	}
	var spoiled []dr.Position
	for _, p := range w.position {
		if w.retired[p.ID()] {
			continue
		}
		good := true
		for _, o := range w.path(p) {
			if err := bad[o.name]; err != nil {
				spoils(o.name, err, p.ID())
				good = false
			}
		}
		if good {
			r.Good = append(r.Good, p.ID())
		} else {
			spoiled = append(spoiled, p)
		}
	}
	opens := func(id string) bool {
		return slices.ContainsFunc(w.position, func(p dr.Position) bool { return p.ID() == id })
	}
	for _, o := range w.broken {
		if !opens(o.to.ID()) && o.to.Sequence > 0 {
			spoils(o.name, o.err, o.to.ID())
			spoiled = append(spoiled, o.to)
		}
	}
	for _, o := range w.objects {
		if o.from.IsZero() || w.best[o.from] != nil || opens(o.to.ID()) {
			continue
		}
		cause := o.name
		err := w.missing(o)
		for _, b := range w.broken {
			if b.to.Compare(w.gap(o)) == 0 {
				cause, err = b.name, b.err
			}
		}
		spoils(cause, err, o.to.ID())
		spoiled = append(spoiled, o.to)
	}
	slices.SortFunc(spoiled, dr.Position.Compare)
	for _, p := range spoiled {
		if !slices.Contains(r.Spoiled, p.ID()) {
			r.Spoiled = append(r.Spoiled, p.ID())
		}
	}
	for _, d := range damage {
		r.Corrupt = append(r.Corrupt, *d)
	}
	slices.SortFunc(r.Corrupt, func(a, b Damage) int {
		if a.Object < b.Object {
			return -1
		}
		return 1
	})
}

// Stats describes what a group takes in the vault.
type Stats struct {
	Points       int       `json:"points"`
	Oldest       time.Time `json:"oldest,omitzero"`
	Newest       time.Time `json:"newest,omitzero"`
	Epoch        uint64    `json:"epoch"`
	Objects      int       `json:"objects"` // all, parts of seeds included
	Merged       int       `json:"merged"`
	Bytes        int64     `json:"bytes"`        // stored, all objects
	GarbageBytes int64     `json:"garbageBytes"` // of these, waiting to be deleted, parts of abandoned seeds not included
	DiskBytes    int64     `json:"diskBytes"`    // virtual size of the disks at the newest point
	Depth        int       `json:"depth"`        // objects that opening the newest point reads
	Locked       int       `json:"locked"`       // objects that cannot be deleted yet
	LockedBytes  int64     `json:"lockedBytes"`
	LockedUntil  time.Time `json:"lockedUntil,omitzero"` // the last of them
	Damaged      int       `json:"damaged"`              // objects whose header cannot be read
}

// Cadence is how many points of a group are made in a day, and of what stored size, lately: over a day, or since the newest
// point before that. Sequence numbers tell, also of points that retention dropped meanwhile.
func Cadence(points []dr.RecoveryPoint) (perDay float64, size int64) {
	if len(points) < 2 {
		return 0, 0
	}
	newest := points[len(points)-1]
	from := points[0]
	var sum, n int64
	for i := len(points) - 2; i >= 0; i-- {
		from = points[i]
		sum, n = sum+points[i+1].Bytes, n+1
		if newest.Time.Sub(from.Time) >= 24*time.Hour {
			break
		}
	}
	if newest.Position.Sequence <= from.Position.Sequence {
		return 0, sum / n
	}
	took := max(newest.Time.Sub(from.Time), time.Minute) // a few points in a row are no rate
	return float64(newest.Position.Sequence-from.Position.Sequence) * float64(24*time.Hour) / float64(took), sum / n
}

// Stats counts what a group has in the vault. It needs no identity and reads headers only.
func (v *Vault) Stats(ctx context.Context, group string) (Stats, error) {
	var s Stats
	w, err := v.scan(ctx, group)
	if err != nil {
		return s, fmt.Errorf("count group %s: %w", group, err)
	}
	points := w.points()
	s.Points, s.Damaged = len(points), len(w.broken)+len(w.damaged)
	if len(points) > 0 {
		s.Oldest, s.Newest = points[0].Time, points[len(points)-1].Time
	}
	if head := w.head(); head != nil {
		s.Epoch, s.DiskBytes, s.Depth = head.to.Epoch, head.header.Size, len(w.path(head.to))
	}
	for _, o := range w.objects {
		if o.header.Merged {
			s.Merged++
		}
	}
	for _, o := range slices.Concat(w.hidden, w.stale) {
		s.GarbageBytes += o.size
		if o.header != nil && !o.header.Merged {
			s.GarbageBytes += o.trailer.Stored - o.size
		}
	}
	var all []blob.Info
	for _, kind := range []string{"/p/", "/m/", "/s/"} {
		err := v.store.List(ctx, "g/"+group+kind, func(i blob.Info) error {
			s.Objects++
			s.Bytes += i.Size
			all = append(all, i)
			return nil
		})
		if err != nil {
			return s, fmt.Errorf("count group %s: %w", group, unavailable(err))
		}
	}
	if err := v.countLocks(ctx, all, &s); err != nil {
		return s, fmt.Errorf("count group %s: %w", group, err)
	}
	return s, nil
}
