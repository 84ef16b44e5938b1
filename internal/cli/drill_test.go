package cli

import (
	"strings"
	"testing"
	"time"

	"understudy/internal/api/wire"
)

func TestDrillNote(t *testing.T) {
	age, limit, at := 9*24*3600.0, 8*24*3600.0, time.Unix(0, 0)
	for name, tt := range map[string]struct {
		d          *wire.Drill
		text, hint string
	}{
		"no schedule": {nil, "", ""},
		"in time":     {&wire.Drill{Group: "shop", ProvenAt: &at}, "", ""},
		"overdue": {&wire.Drill{Group: "shop", Overdue: true, OverdueSeconds: &age, LimitSeconds: &limit, ProvenAt: &at},
			"drill overdue: last proven to boot 9 d ago, the limit is 8 d", "understudy drill run shop"},
		"never": {&wire.Drill{Group: "shop", Overdue: true, OverdueSeconds: &age, LimitSeconds: &limit},
			"drill overdue: never proven to boot, and the schedule is 9 d old", "understudy drill run shop"},
		"failed": {&wire.Drill{Group: "shop", Overdue: true, OverdueSeconds: &age, LimitSeconds: &limit, ProvenAt: &at, Last: &wire.Run{ID: "r1", State: "failed"}},
			"9 d ago", "understudy run report r1 --out report.html"},
		"busy": {&wire.Drill{Group: "shop", Problem: "it is busy", Hint: "wait"}, "the drill that is due cannot begin: it is busy", "wait"},
	} {
		text, hint := drillNote(tt.d)
		if !strings.Contains(text, tt.text) || !strings.Contains(hint, tt.hint) || (text == "") != (tt.text == "") {
			t.Errorf("%s: %q, hint %q", name, text, hint)
		}
	}
}

func TestZoneTime(t *testing.T) {
	d := wire.Drill{Schedule: &wire.DrillSchedule{TZ: "Europe/Paris"}, Upcoming: []time.Time{time.Date(2026, 11, 23, 2, 0, 0, 0, time.UTC)}}
	if got := zoneTime(d, 0); got != "Mon 2026-11-23 03:00 CET" {
		t.Error(got)
	}
}
