package vault

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"understudy/internal/dr"
	"understudy/internal/vault/blob/mem"
)

// namedHistory is a group with points of each kind, one a minute from 12:00 on: crash, application, filesystem, crash...
func namedHistory(t *testing.T, n int) (*Vault, *Lease, *world, *clock, []dr.RecoveryPoint) {
	t.Helper()
	c, w := newClock(), newWorld(31)
	v := newVault(t, mem.New(), c)
	l := acquire(t, v, "east")
	kinds := []dr.Consistency{dr.CrashConsistent, dr.ApplicationConsistent, dr.FilesystemConsistent}
	var points []dr.RecoveryPoint
	for i := range n {
		spec := w.spec(c)
		spec.Kind = kinds[i%3]
		begin := func() (*Writer, error) {
			if i == 0 {
				return v.BeginSeed(t.Context(), l, spec, filepath.Join(t.TempDir(), "journal"), nil)
			}
			return v.BeginDelta(t.Context(), l, spec)
		}
		wr, err := begin()
		if err != nil {
			t.Fatal(err)
		}
		cp, err := w.send(wr, i == 0)
		if err != nil {
			t.Fatal(err)
		}
		p, err := wr.Commit(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		w.committed(p, cp)
		w.change(2)
		points = append(points, p)
		c.advance(time.Minute)
		if err := l.Renew(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return v, l, w, c, points
}

func TestFindPointBySelector(t *testing.T) {
	v, _, _, _, points := namedHistory(t, 7)
	if _, err := v.NamePoint(t.Context(), "shop", "2026-03-01T12:04:30Z", "before-upgrade"); err != nil {
		t.Fatal(err)
	}
	for sel, want := range map[string]int{
		"latest": 6, "latest-processed": 6, "latest-application": 4, "latest-filesystem": 5, "before-upgrade": 4,
		"2026-03-01T12:03:59Z": 3, "2026-03-01T12:03:00Z": 3, points[2].ID: 2,
	} {
		p, err := v.FindPoint(t.Context(), "shop", sel)
		if err != nil || p.ID != points[want].ID {
			t.Errorf("%s: %s, %v; want %s", sel, p.ID, err, points[want].ID)
		}
	}
	for sel, kind := range map[string]dr.Kind{
		"1-99": dr.KindNotFound, "after-upgrade": dr.KindNotFound, "2026-03-01T11:59:59Z": dr.KindNotFound,
		"latest-good": dr.KindInvalid, "Latest": dr.KindInvalid, "": dr.KindInvalid, "1-2-3": dr.KindInvalid, "1-2x": dr.KindInvalid, "12:03": dr.KindInvalid,
	} {
		if p, err := v.FindPoint(t.Context(), "shop", sel); err == nil || dr.KindOf(err) != kind || dr.Hint(err) == "" {
			t.Errorf("%q: %s, %v (%s)", sel, p.ID, err, dr.KindOf(err))
		}
	}
	only := *newView("shop", nil, &marks{}, nil)
	for _, sel := range []string{"latest", "latest-application", "latest-filesystem"} {
		if _, err := only.choose(sel); dr.KindOf(err) != dr.KindNotFound {
			t.Errorf("%s of nothing: %v", sel, err)
		}
	}
}

func TestNamesAreChecked(t *testing.T) {
	v, _, _, _, points := namedHistory(t, 3)
	for _, name := range []string{"", "latest", "latest-one", "1-2", "9lives", "-x", "Upper", "a b", "ä", strings.Repeat("a", 64), "2026-03-01"} {
		if _, err := v.NamePoint(t.Context(), "shop", "latest", name); dr.KindOf(err) != dr.KindInvalid {
			t.Errorf("%q: %v", name, err)
		}
	}
	for range 2 { // the second time it is as it should be already
		if p, err := v.NamePoint(t.Context(), "shop", points[1].ID, "good"); err != nil || !slices.Equal(p.Names, []string{"good"}) {
			t.Fatalf("%v, %v", p.Names, err)
		}
	}
	if _, err := v.NamePoint(t.Context(), "shop", points[2].ID, "good"); dr.KindOf(err) != dr.KindConflict || !strings.Contains(dr.Hint(err), "unname shop good") {
		t.Errorf("a name twice: %v", err)
	}
	if p, err := v.NamePoint(t.Context(), "shop", "good", "best"); err != nil || !slices.Equal(p.Names, []string{"best", "good"}) {
		t.Errorf("a second name: %v, %v", p.Names, err)
	}
	if p, err := v.UnnamePoint(t.Context(), "shop", "good"); err != nil || p.ID != points[1].ID || !slices.Equal(p.Names, []string{"best"}) {
		t.Errorf("%+v, %v", p, err)
	}
	if _, err := v.UnnamePoint(t.Context(), "shop", "good"); dr.KindOf(err) != dr.KindNotFound {
		t.Errorf("unname twice: %v", err)
	}
	for i := range maxNames - 1 {
		if _, err := v.NamePoint(t.Context(), "shop", "latest", fmt.Sprintf("n%061d", i)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := v.NamePoint(t.Context(), "shop", "latest", "one-more"); dr.KindOf(err) != dr.KindConflict {
		t.Errorf("%d names: %v", maxNames+1, err)
	}
	// The object that they share with compaction has room for its part.
	m, err := v.readMarks(t.Context(), "shop")
	if err != nil {
		t.Fatal(err)
	}
	var long []string
	for i := range 1000 {
		long = append(long, fmt.Sprintf("p/%096d", i))
	}
	if !m.add(v.now(), long, nil) {
		t.Error("nothing fits beside the names")
	}
	if err := v.writeMarks(t.Context(), "shop", m); err != nil {
		t.Error(err)
	}
}

// TestNamedPointsStay lets time pass until retention dropped all but the newest and the named points.
func TestNamedPointsStay(t *testing.T) {
	v, l, w, c, points := namedHistory(t, 30)
	for i, name := range map[int]string{3: "three", 17: "seventeen"} {
		if _, err := v.NamePoint(t.Context(), "shop", points[i].ID, name); err != nil {
			t.Fatal(err)
		}
	}
	keep := []dr.Tier{{Every: 0, For: time.Minute}}
	compact := func(want ...int) {
		t.Helper()
		for range 3 {
			c.advance(time.Hour)
			if err := l.Renew(t.Context()); err != nil {
				t.Fatal(err)
			}
			if _, err := v.Compact(t.Context(), l, keep); err != nil {
				t.Fatal(err)
			}
		}
		v = openVault(t, v.store, c) // as after a restart
		got, err := v.Points(t.Context(), "shop")
		if err != nil {
			t.Fatal(err)
		}
		var ids, wanted []string
		for _, p := range got {
			ids = append(ids, p.ID)
		}
		for _, i := range want {
			wanted = append(wanted, points[i].ID)
		}
		if !slices.Equal(ids, wanted) {
			t.Fatalf("points %v, want %v", ids, wanted)
		}
		w.verify(t, v, "shop", ids...)
	}
	compact(3, 17, 29)
	if p, err := v.FindPoint(t.Context(), "shop", "seventeen"); err != nil || p.ID != points[17].ID || !slices.Equal(p.Names, []string{"seventeen"}) {
		t.Errorf("%+v, %v", p, err)
	}
	if _, err := v.UnnamePoint(t.Context(), "shop", "three"); err != nil {
		t.Fatal(err)
	}
	compact(17, 29)
}

// TestNameAgainstCompaction gives a name while a compaction that drops the point is under way: either the name is given
// and the point stays, or there is no such point any more.
func TestNameAgainstCompaction(t *testing.T) {
	v, l, w, c, points := namedHistory(t, 12)
	c.advance(time.Hour)
	if err := l.Renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	old, err := v.scan(t.Context(), "shop") // what the compaction saw
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.NamePoint(t.Context(), "shop", points[4].ID, "just-in-time"); err != nil {
		t.Fatal(err)
	}
	var s CompactStats
	kept := map[dr.Position]bool{points[11].Position: true}
	live, err := v.mergeAll(t.Context(), l, old, kept, &s)
	if err != nil {
		t.Fatal(err)
	}
	if err := v.hide(t.Context(), l, old, live, kept, &CompactStats{}); err == nil {
		t.Error("a compaction that does not know of the name went through")
	}
	w.verify(t, openVault(t, v.store, c), "shop", points[4].ID)

	if _, err := v.Compact(t.Context(), l, []dr.Tier{{Every: 0, For: time.Minute}}); err != nil {
		t.Fatal(err)
	}
	if _, err := v.NamePoint(t.Context(), "shop", points[6].ID, "too-late"); dr.KindOf(err) != dr.KindNotFound {
		t.Errorf("a point that was dropped got a name: %v", err)
	}
}
