package vault

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"understudy/internal/dr"
	"understudy/internal/vault/blob"
)

// Selectors of FindPoint that look for the newest point of a kind.
const (
	Latest            = "latest"
	LatestProcessed   = "latest-processed" // the same: a point exists only when all of it is in the vault
	LatestApplication = "latest-application"
	LatestFilesystem  = "latest-filesystem" // or better
)

const selectors = "`latest`, `latest-application`, `latest-filesystem`, an ID, a name, or a time like 2006-01-02 15:04 or 2006-01-02T15:04:05Z"

// FindPoint finds a point by one of the selectors above, its ID, a name it was given, or a time (RFC 3339, or local
// "2006-01-02 15:04[:05]"): the newest point, by position, at or before it.
func (v *Vault) FindPoint(ctx context.Context, group, sel string) (dr.RecoveryPoint, error) {
	w, err := v.scan(ctx, group)
	if err != nil {
		return dr.RecoveryPoint{}, err
	}
	return w.choose(sel)
}

// choose is FindPoint in what was read. It is pure, but for the local time zone.
func (w *view) choose(sel string) (dr.RecoveryPoint, error) {
	points := w.points()
	newest := func(hint, what string, ok func(dr.RecoveryPoint) bool) (dr.RecoveryPoint, error) {
		for _, p := range slices.Backward(points) {
			if ok(p) {
				return p, nil
			}
		}
		return dr.RecoveryPoint{}, dr.WithHint(fmt.Errorf("group %s has no %s", w.group, what), dr.KindNotFound, hint)
	}
	const list = "`understudy points list` shows the points there are"
	switch sel {
	case Latest, LatestProcessed:
		return newest("", "recovery point", func(dr.RecoveryPoint) bool { return true })
	case LatestApplication:
		return newest("take another point, or have such points made: understudy policy set --app-every 1h", "application-consistent recovery point",
			func(p dr.RecoveryPoint) bool { return p.Kind == dr.ApplicationConsistent })
	case LatestFilesystem:
		return newest("take another point, or have such points made: understudy policy set --app-every 1h", "file-system-consistent recovery point",
			func(p dr.RecoveryPoint) bool {
				return p.Kind == dr.FilesystemConsistent || p.Kind == dr.ApplicationConsistent
			})
	}
	if at, ok := dr.ParseTime(sel, time.Local); ok {
		return newest(list, "point at or before "+sel, func(p dr.RecoveryPoint) bool { return !p.Time.After(at) })
	}
	if pointID.MatchString(sel) {
		p, err := w.find(sel)
		if err != nil {
			return dr.RecoveryPoint{}, err
		}
		return w.info(p), nil
	}
	if checkName(sel) != nil {
		return dr.RecoveryPoint{}, dr.WithHint(fmt.Errorf("point %.80q cannot be the name of one", sel), dr.KindInvalid, "give "+selectors)
	}
	i := slices.IndexFunc(w.marks.Names, func(n markName) bool { return n.Name == sel })
	if i < 0 {
		return dr.RecoveryPoint{}, dr.WithHint(fmt.Errorf("group %s has no point named %s", w.group, sel), dr.KindNotFound, "give "+selectors)
	}
	p, err := w.find(w.marks.Names[i].Point)
	if err != nil {
		return dr.RecoveryPoint{}, fmt.Errorf("point named %s: %w", sel, err)
	}
	return w.info(p), nil
}

var (
	pointID   = regexp.MustCompile(`^[0-9]{1,19}-[0-9]{1,19}$`)
	namedLike = regexp.MustCompile(`^[a-z][a-z0-9._-]{0,62}$`)
)

const (
	maxName  = 63  // bytes
	maxNames = 128 // of a group: they share an object of bounded size with the marks
)

// checkName tells whether a point may be given a name. Names cannot be taken for IDs, times or other selectors.
func checkName(name string) error {
	switch {
	case !namedLike.MatchString(name):
		return dr.WithHint(fmt.Errorf("name %.80q is not allowed", name), dr.KindInvalid,
			"use up to 63 lower-case letters, digits, '.', '_' and '-', starting with a letter")
	case name == Latest || strings.HasPrefix(name, Latest+"-"):
		return dr.WithHint(fmt.Errorf("name %q has a meaning of its own", name), dr.KindInvalid, "names do not start with "+Latest)
	}
	return nil
}

// NamePoint gives a point, found as FindPoint does, a name that it can be found by. A point with a name is kept whatever
// retention says, until each of its names is taken away. Giving it the same name again is success; a name that another
// point has is a dr.KindConflict. It needs no lease and no identity.
func (v *Vault) NamePoint(ctx context.Context, group, sel, name string) (dr.RecoveryPoint, error) {
	if err := checkName(name); err != nil {
		return dr.RecoveryPoint{}, err
	}
	return v.changeNames(ctx, group, func(w *view) (dr.RecoveryPoint, []markName, error) {
		p, err := w.choose(sel)
		if err != nil {
			return p, nil, err
		}
		names := w.marks.Names
		if i := slices.IndexFunc(names, func(n markName) bool { return n.Name == name }); i >= 0 {
			if names[i].Point != p.ID {
				return p, nil, dr.WithHint(fmt.Errorf("point %s of group %s has the name %s already", names[i].Point, group, name), dr.KindConflict,
					fmt.Sprintf("choose another name, or take this one away: understudy points unname %s %s", group, name))
			}
			return p, names, nil
		}
		if len(names) >= maxNames {
			return p, nil, dr.WithHint(fmt.Errorf("group %s has %d named points", group, len(names)), dr.KindConflict,
				"take names away that are no longer needed: understudy points unname "+group+" NAME")
		}
		p.Names = append(slices.Clone(p.Names), name)
		slices.Sort(p.Names)
		return p, append(slices.Clone(names), markName{Name: name, Point: p.ID, Time: v.now().UTC()}), nil
	})
}

// UnnamePoint takes a name away and returns the point that had it, which retention may drop from now on. A name that no
// point has is dr.KindNotFound.
func (v *Vault) UnnamePoint(ctx context.Context, group, name string) (dr.RecoveryPoint, error) {
	return v.changeNames(ctx, group, func(w *view) (p dr.RecoveryPoint, names []markName, err error) {
		i := slices.IndexFunc(w.marks.Names, func(n markName) bool { return n.Name == name })
		if i < 0 {
			return p, nil, dr.WithHint(fmt.Errorf("group %s has no point named %.80s", group, name), dr.KindNotFound, "`understudy points list` shows the names")
		}
		p = dr.RecoveryPoint{ID: w.marks.Names[i].Point, Group: group}
		if at, err := w.find(p.ID); err == nil { // else it is damaged, and its name can go all the same
			p = w.info(at)
			p.Names = slices.DeleteFunc(p.Names, func(n string) bool { return n == name })
		}
		return p, slices.Delete(slices.Clone(w.marks.Names), i, i+1), nil
	})
}

// changeNames replaces a group's names by what change makes of them, by compare-and-swap with the marks that change saw:
// no compaction drops the point in between.
func (v *Vault) changeNames(ctx context.Context, group string, change func(w *view) (dr.RecoveryPoint, []markName, error)) (dr.RecoveryPoint, error) {
	for range attempts {
		w, err := v.scan(ctx, group)
		if err != nil {
			return dr.RecoveryPoint{}, err
		}
		p, names, err := change(w)
		if err != nil || slices.Equal(names, w.marks.Names) {
			return p, err
		}
		next := *w.marks
		next.Names = names
		err = v.writeMarks(ctx, group, &next)
		if errors.Is(err, blob.ErrChanged) {
			continue
		}
		return p, err
	}
	return dr.RecoveryPoint{}, dr.WithHint(fmt.Errorf("name a point of group %s: others keep changing its marks", group), dr.KindConflict, "try again")
}

// namesOf returns the names of a point, sorted.
func (m *marks) namesOf(id string) []string {
	var names []string
	for _, n := range m.Names {
		if n.Point == id {
			names = append(names, n.Name)
		}
	}
	slices.Sort(names)
	return names
}
