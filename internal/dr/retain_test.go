package dr

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var epochStart = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func pointsAt(ages ...time.Duration) []RecoveryPoint {
	var points []RecoveryPoint
	for i, age := range ages {
		p := Position{Epoch: 1, Sequence: uint64(i + 1)}
		points = append(points, RecoveryPoint{ID: p.ID(), Position: p, Time: epochStart.Add(-age)})
	}
	return points
}

func ids(points []RecoveryPoint) string {
	var s []string
	for _, p := range points {
		s = append(s, p.ID)
	}
	return strings.Join(s, " ")
}

func TestRetain(t *testing.T) {
	const m, h = time.Minute, time.Hour
	tiers := []Tier{{0, 10 * m}, {h, 24 * h}}
	for _, c := range []struct {
		name  string
		ages  []time.Duration
		tiers []Tier
		want  string
	}{
		{"none", nil, tiers, ""},
		{"newest stays whatever its age", []time.Duration{90 * 24 * h, 80 * 24 * h}, tiers, "1-2"},
		{"no tiers", []time.Duration{2 * m, m}, nil, "1-2"},
		{"all while young", []time.Duration{3 * m, 2 * m, m}, tiers, "1-1 1-2 1-3"},
		{"newest of each hour", []time.Duration{119 * m, 61 * m, 59 * m, 30 * m, 5 * m}, tiers, "1-2 1-5"},
		{"at the end of the tier", []time.Duration{24 * h, 24*h - 1, m}, tiers, "1-2 1-3"},
		{"future", []time.Duration{-48 * h, -m, 30 * m, 20 * m, 0}, tiers, "1-1 1-2 1-4 1-5"},
		{"clock went back", []time.Duration{20 * m, -30 * m, 40 * m}, tiers, "1-1 1-2 1-3"},
	} {
		t.Run(c.name, func(t *testing.T) {
			points := pointsAt(c.ages...)
			slices.Reverse(points)
			if got := ids(Retain(points, c.tiers, epochStart)); got != c.want {
				t.Errorf("kept %q, want %q", got, c.want)
			}
		})
	}
}

func TestRetainKeepsConsistentPoints(t *testing.T) {
	const m, h = time.Minute, time.Hour
	points := pointsAt(175*m, 170*m, 165*m, 115*m, 110*m, 65*m, 5*m)
	for i, kind := range []Consistency{ApplicationConsistent, FilesystemConsistent, CrashConsistent, FilesystemConsistent, FilesystemConsistent, CrashConsistent, CrashConsistent} {
		points[i].Kind = kind
	}
	if got, want := ids(Retain(points, []Tier{{h, 24 * h}}, epochStart)), "1-1 1-3 1-5 1-6 1-7"; got != want {
		t.Errorf("kept %q, want %q", got, want)
	}
}

func drawPoints(t *rapid.T) []RecoveryPoint {
	ages := rapid.SliceOfN(rapid.Int64Range(-3600, 30*24*3600), 0, 60).Draw(t, "ages")
	var d []time.Duration
	for _, a := range ages {
		d = append(d, time.Duration(a)*time.Second)
	}
	if rapid.Bool().Draw(t, "clock only goes forward") {
		slices.SortFunc(d, func(a, b time.Duration) int { return int(b/time.Second - a/time.Second) })
	}
	points := pointsAt(d...)
	kinds := []Consistency{CrashConsistent, FilesystemConsistent, ApplicationConsistent}
	for i := range points {
		points[i].Kind = kinds[rapid.SampledFrom([]int{0, 0, 0, 1, 2}).Draw(t, "kind")]
	}
	return points
}

func drawTiers(t *rapid.T) []Tier {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Tier {
		return Tier{
			Every: rapid.SampledFrom([]time.Duration{0, time.Minute, 5 * time.Minute, time.Hour, 7 * time.Hour, 24 * time.Hour}).Draw(t, "every"),
			For:   time.Duration(rapid.Int64Range(1, 40*24*3600).Draw(t, "for")) * time.Second,
		}
	}), 0, 4).Draw(t, "tiers")
}

func TestRetainProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		points, tiers := drawPoints(t), drawTiers(t)
		given := slices.Clone(points)
		kept := Retain(points, tiers, epochStart)
		if !slices.EqualFunc(points, given, func(a, b RecoveryPoint) bool { return a.ID == b.ID }) {
			t.Fatal("changed its argument")
		}
		has := map[string]bool{}
		for i, p := range kept {
			has[p.ID] = true
			if i > 0 && kept[i-1].Position.Compare(p.Position) >= 0 {
				t.Fatalf("not ascending, or twice: %s", ids(kept))
			}
			if !slices.ContainsFunc(points, func(q RecoveryPoint) bool { return q.ID == p.ID }) {
				t.Fatalf("made up %s", p.ID)
			}
		}
		if len(points) > 0 && !has[points[len(points)-1].ID] {
			t.Fatal("newest was dropped")
		}
		if again := Retain(kept, tiers, epochStart); ids(again) != ids(kept) {
			t.Fatalf("not idempotent: %s, then %s", ids(kept), ids(again))
		}
		for _, p := range points {
			age := epochStart.Sub(p.Time)
			if age <= 0 && !has[p.ID] {
				t.Fatalf("%s of the future was dropped", p.ID)
			}
			for _, tier := range tiers {
				if age >= tier.For {
					continue
				}
				// Something at least as new of its interval is kept.
				if !slices.ContainsFunc(kept, func(q RecoveryPoint) bool {
					if tier.Every == 0 {
						return q.ID == p.ID
					}
					return !q.Time.Before(p.Time) && q.Time.Truncate(tier.Every).Equal(p.Time.Truncate(tier.Every))
				}) {
					t.Fatalf("interval of %s in %q has no point", p.ID, tier)
				}
				// And something at least as consistent.
				if !slices.ContainsFunc(kept, func(q RecoveryPoint) bool {
					return q.Kind.Rank() >= p.Kind.Rank() && q.Time.Truncate(max(tier.Every, 1)).Equal(p.Time.Truncate(max(tier.Every, 1)))
				}) {
					t.Fatalf("interval of %s in %q has nothing as consistent", p.ID, tier)
				}
			}
		}
		// What was dropped is never wanted later: deciding in two steps or in one is the same.
		later := epochStart.Add(time.Duration(rapid.Int64Range(0, 60*24*3600).Draw(t, "later")) * time.Second)
		if two, one := ids(Retain(kept, tiers, later)), ids(Retain(points, tiers, later)); two != one {
			t.Fatalf("at %s kept %q, without the earlier decision %q", later, two, one)
		}
	})
}

func TestDefaultPolicy(t *testing.T) {
	p := DefaultPolicy()
	if err := p.Validate(); err != nil {
		t.Error(err)
	}
	if got := FormatTiers(p.Keep); got != "all for 1h, 5m for 1d, 1h for 7d, 1d for 30d" {
		t.Error(got)
	}
	// A month of points a minute apart is kept in a few hundred.
	var points []RecoveryPoint
	for i := range 40 * 24 * 60 {
		pos := Position{Epoch: 1, Sequence: uint64(i + 1)}
		points = append(points, RecoveryPoint{ID: pos.ID(), Position: pos, Time: epochStart.Add(time.Duration(i-40*24*60) * time.Minute)})
	}
	if n := len(Retain(points, p.Keep, epochStart)); n < 480 || n > 560 {
		t.Errorf("%d points", n)
	}
}

func TestValidatePolicy(t *testing.T) {
	for want, change := range map[string]func(*Policy){
		"no name":              func(p *Policy) { p.Name = "" },
		"rpo 0s":               func(p *Policy) { p.RPO = 0 },
		"rpo 2d":               func(p *Policy) { p.RPO = 48 * time.Hour },
		"every 5s: not":        func(p *Policy) { p.AppEvery = 5 * time.Second },
		"freeze timeout 2m":    func(p *Policy) { p.FreezeTimeout = 2 * time.Minute },
		"keeps nothing":        func(p *Policy) { p.Keep = nil },
		"below 1s":             func(p *Policy) { p.Keep[1].Every = time.Millisecond },
		"time to keep":         func(p *Policy) { p.Keep[1].For = 0 },
		"for less than":        func(p *Policy) { p.Keep[1].For = time.Second },
		"sparser and kept":     func(p *Policy) { slices.Reverse(p.Keep) },
		"policy \"default\": ": func(p *Policy) { p.RPO = 0 },
	} {
		p := DefaultPolicy()
		change(&p)
		err := p.Validate()
		if err == nil || !strings.Contains(err.Error(), want) || KindOf(err) != KindInvalid || Hint(err) == "" {
			t.Errorf("want %q: %v", want, err)
		}
	}
}

func TestParseTiers(t *testing.T) {
	got, err := ParseTiers(" all for 90m ,5m for 1d12h,  1d for 2w")
	if want := "all for 1h30m, 5m for 1d12h, 1d for 14d"; err != nil || FormatTiers(got) != want {
		t.Error(FormatTiers(got), err)
	}
	for _, s := range []string{"", "all", "5m", "all for", "for 1h", "x for 1h", "0 for 1h", "5m for x", "all for 0s", "2h for 1h", "5m for 1d,", "-5m for 1d"} {
		if tiers, err := ParseTiers(s); KindOf(err) != KindInvalid || Hint(err) == "" {
			t.Errorf("%q: %v %v", s, tiers, err)
		}
	}
}

func TestDurations(t *testing.T) {
	const day = 24 * time.Hour
	for s, want := range map[string]time.Duration{"0": 0, "30s": 30 * time.Second, "5m": 5 * time.Minute, "1d": day, "1w": 7 * day,
		"1w2d3h": 9*day + 3*time.Hour, "1d1m30s": day + 90*time.Second, "500ms": 500 * time.Millisecond, "1.5h": 90 * time.Minute} {
		if got, err := ParseDuration(s); err != nil || got != want {
			t.Errorf("%q: %s %v", s, got, err)
		}
	}
	for _, s := range []string{"", "5", "d", "w", "-1d", "+1d", "1d-1h", "1d+1h", "1.5d", "1d2w", "1x", "1d ", "99999w", "999999999999d", "1d99999999h"} {
		if got, err := ParseDuration(s); KindOf(err) != KindInvalid {
			t.Errorf("%q: %s %v", s, got, err)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		d := time.Duration(rapid.Int64Range(0, int64(maxPeriod)).Draw(t, "d"))
		if got, err := ParseDuration(FormatDuration(d)); err != nil || got != d {
			t.Fatalf("%d is %s is %d, %v", d, FormatDuration(d), got, err)
		}
	})
	for d, want := range map[time.Duration]string{0: "0s", time.Hour: "1h", 10 * time.Minute: "10m", 20 * time.Hour: "20h", 36 * time.Hour: "1d12h",
		90 * time.Second: "1m30s", time.Hour + time.Second: "1h0m1s"} {
		if got := FormatDuration(d); got != want {
			t.Errorf("%d: %s, want %s", d, got, want)
		}
	}
}

func ExampleFormatTiers() {
	fmt.Println(FormatTiers(DefaultPolicy().Keep))
	// Output: all for 1h, 5m for 1d, 1h for 7d, 1d for 30d
}
