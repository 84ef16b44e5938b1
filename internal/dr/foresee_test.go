package dr

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestForesee(t *testing.T) {
	const m, h = time.Minute, time.Hour
	tiers := []Tier{{0, h}, {h, 24 * h}}
	points := pointsAt(150*m, 90*m, 80*m, 30*m, 10*m)
	points[1].Names = []string{"before-upgrade"}
	for _, c := range []struct {
		in   time.Duration
		want string
	}{
		{0, "1-1 1-2 1-3 1-4 1-5"},
		{-h, "1-1 1-2 1-3 1-4 1-5"},
		{25 * m, "1-1 1-2 1-3 1-4 1-5"},
		{45 * m, "1-1 1-2 1-3 1-5"},
		{2 * h, "1-1 1-2 1-3 1-5"},
		{23 * h, "1-2 1-5"},
		{25 * h, "1-2"},
	} {
		if got := ids(Foresee(points, tiers, epochStart, epochStart.Add(c.in))); got != c.want {
			t.Errorf("in %s: %s, want %s", c.in, got, c.want)
		}
	}
	if got := Foresee(nil, tiers, epochStart, epochStart.Add(h)); len(got) != 0 {
		t.Errorf("of nothing: %v", got)
	}
}

// What is foreseen is what retention does when a point is made every minute until then.
func TestForeseeProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		points := drawPoints(t)
		points = slices.DeleteFunc(points, func(p RecoveryPoint) bool { return p.Time.After(epochStart) })
		tiers := slices.DeleteFunc(drawTiers(t), func(v Tier) bool { return v.Every == time.Minute })
		minutes := rapid.IntRange(1, 3*24*60).Draw(t, "minutes")
		at := epochStart.Add(time.Duration(minutes) * time.Minute)
		all := slices.Clone(points)
		for i := range minutes {
			all = append(all, RecoveryPoint{Position: Position{Epoch: 2, Sequence: uint64(i)}, Time: epochStart.Add(time.Duration(i+1) * time.Minute), Kind: CrashConsistent})
		}
		want := slices.DeleteFunc(Retain(all, tiers, at), func(p RecoveryPoint) bool { return p.Position.Epoch == 2 })
		if got := Foresee(points, tiers, epochStart, at); ids(got) != ids(want) {
			t.Fatalf("foresees %s, and it will be %s", ids(got), ids(want))
		}
	})
}

func TestDescribePolicy(t *testing.T) {
	p := DefaultPolicy()
	p.AppEvery = time.Hour
	text := strings.Join(p.Describe(), "\n")
	for _, want := range []string{"every 1m:", "Every 1h an application-consistent one", "5s at most", "All are kept for 1h: about 60.", "every 5m is kept from 1h to 1d: about 276.", "every 1d is kept from 7d to 30d: about 23."} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if n := p.Expect(); n != 60+276+144+23 {
		t.Errorf("%d points", n)
	}
	p.AppEvery, p.RPO = 0, 10*time.Minute
	if text := strings.Join(p.Describe(), "\n"); !strings.Contains(text, "never frozen") || !strings.Contains(text, "to 1d: about 138.") {
		t.Error(text)
	}
}
