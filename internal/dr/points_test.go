package dr

import (
	"testing"
	"time"
)

func TestPointFilter(t *testing.T) {
	points := pointsAt(4*time.Hour, 3*time.Hour, 2*time.Hour, time.Hour)
	for i, kind := range []Consistency{CrashConsistent, ApplicationConsistent, FilesystemConsistent, CrashConsistent} {
		points[i].Kind = kind
	}
	points[3].Names = []string{"before-upgrade"}
	for want, f := range map[string]PointFilter{
		"1-1 1-2 1-3 1-4": {},
		"1-2 1-3":         {Consistency: FilesystemConsistent},
		"1-2":             {Consistency: ApplicationConsistent},
		"1-4":             {Named: true},
		"1-3 1-4":         {After: epochStart.Add(-2 * time.Hour)},
		"1-1 1-2":         {Before: epochStart.Add(-2 * time.Hour)},
		"1-3":             {After: epochStart.Add(-150 * time.Minute), Before: epochStart.Add(-90 * time.Minute), Consistency: CrashConsistent},
		"":                {Consistency: ApplicationConsistent, Named: true},
	} {
		if got := ids(f.Apply(points)); got != want || f.Validate() != nil {
			t.Errorf("%+v: %q, want %q; %v", f, got, want, f.Validate())
		}
	}
	for _, f := range []PointFilter{{Consistency: "best"}, {After: epochStart, Before: epochStart}} {
		if err := f.Validate(); KindOf(err) != KindInvalid || Hint(err) == "" {
			t.Errorf("%+v: %v", f, err)
		}
	}
}

func TestParseTime(t *testing.T) {
	paris := time.FixedZone("CET", 3600)
	for s, want := range map[string]string{
		"2026-03-01T12:00:00Z": "2026-03-01T12:00:00Z", "2026-03-01 12:00": "2026-03-01T11:00:00Z", "2026-03-01 12:00:09": "2026-03-01T11:00:09Z",
		"yesterday": "", "12:00": "", "2026-03-01": "", "": "",
	} {
		got, ok := ParseTime(s, paris)
		if ok != (want != "") || ok && got.UTC().Format(time.RFC3339) != want {
			t.Errorf("%q: %s, %v", s, got, ok)
		}
	}
}
