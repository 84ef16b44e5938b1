package drill

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"understudy/internal/dr"
	"understudy/internal/store"
)

func at(t *testing.T, s string) time.Time {
	t.Helper()
	v, err := time.Parse(time.RFC3339, s)
	if err != nil {
		t.Fatal(err)
	}
	return v.UTC()
}

func timetable(t *testing.T, expression, zone string) Timetable {
	t.Helper()
	tt, err := ParseTimetable(expression, zone)
	if err != nil {
		t.Fatal(err)
	}
	return tt
}

// Times that a change of the clock skips or repeats, by the wall clocks of the zone.
func TestDaylightSaving(t *testing.T) {
	for name, tt := range map[string]struct {
		cron, zone, from string
		want             []string
	}{
		"skipped half hour past": {"30 2 * * *", "Europe/Paris", "2026-03-28T00:00:00Z",
			[]string{"2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"}},
		"skipped on the hour": {"0 2 * * *", "Europe/Paris", "2026-03-28T12:00:00Z",
			[]string{"2026-03-29T01:00:00Z", "2026-03-30T00:00:00Z"}},
		"beside the skipped hour": {"0 3 * * *", "Europe/Paris", "2026-03-28T12:00:00Z",
			[]string{"2026-03-29T01:00:00Z", "2026-03-30T01:00:00Z"}},
		"repeated hour, once": {"30 2 * * *", "Europe/Paris", "2026-10-24T12:00:00Z",
			[]string{"2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"}},
		"after the repeated hour": {"0 3 * * *", "Europe/Paris", "2026-10-24T12:00:00Z",
			[]string{"2026-10-25T02:00:00Z", "2026-10-26T02:00:00Z"}},
		"weekly over the change": {"0 3 * * 1", "Europe/Paris", "2026-03-20T00:00:00Z",
			[]string{"2026-03-23T02:00:00Z", "2026-03-30T01:00:00Z"}},
		"weekly on the day of the change": {"30 2 * * SUN", "America/New_York", "2026-03-02T00:00:00Z",
			[]string{"2026-03-08T07:00:00Z", "2026-03-15T06:30:00Z"}},
		"midnight that does not exist": {"0 0 * * *", "Africa/Cairo", "2026-04-22T12:00:00Z",
			[]string{"2026-04-22T22:00:00Z", "2026-04-23T22:00:00Z", "2026-04-24T21:00:00Z"}},
		"half-hour change": {"15 2 * * *", "Australia/Lord_Howe", "2026-10-02T20:00:00Z",
			[]string{"2026-10-03T15:30:00Z", "2026-10-04T15:15:00Z"}},
		"UTC": {"@daily", "", "2026-03-28T12:00:00Z", []string{"2026-03-29T00:00:00Z", "2026-03-30T00:00:00Z"}},
	} {
		t.Run(name, func(t *testing.T) {
			table, now := timetable(t, tt.cron, tt.zone), at(t, tt.from)
			var got []string
			for range tt.want {
				now = table.Next(now)
				got = append(got, now.Format(time.RFC3339))
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

func TestParseTimetableErrors(t *testing.T) {
	for _, c := range [][2]string{{"", "UTC"}, {"0 3 * *", "UTC"}, {"0 25 * * *", "UTC"}, {"0 0 30 2 *", "UTC"}, {"@every 1h", "UTC"}, {"@reboot", "UTC"},
		{"0 0 0 3 * * 1", "UTC"}, {"CRON_TZ=Asia/Tokyo 0 3 * * *", "UTC"}, {"0 3 * * *", "Europe/Atlantis"}, {"0 3 * * *", "Local"}} {
		if _, err := ParseTimetable(c[0], c[1]); dr.KindOf(err) != dr.KindInvalid || dr.Hint(err) == "" {
			t.Errorf("%q in %q: %v, hint %q", c[0], c[1], err, dr.Hint(err))
		}
	}
}

func TestDecide(t *testing.T) {
	const monday = "2026-11-16T03:00:00Z"
	for name, tt := range map[string]struct {
		now     string
		next    string
		last    string
		want    Turn
		due     string
		after   string
		crontab string
	}{
		"not yet":                        {"2026-11-16T02:59:59Z", monday, "", Wait, monday, monday, ""},
		"on time":                        {monday, monday, "", Run, monday, "2026-11-23T03:00:00Z", ""},
		"late within the window":         {"2026-11-16T07:00:00Z", monday, "", Run, monday, "2026-11-23T03:00:00Z", ""},
		"too late":                       {"2026-11-16T07:00:01Z", monday, "", Miss, monday, "2026-11-23T03:00:00Z", ""},
		"away for weeks, too late":       {"2026-12-08T09:00:00Z", monday, "", Miss, monday, "2026-12-14T03:00:00Z", ""},
		"away for weeks, the newest":     {"2026-12-07T05:00:00Z", monday, "", Run, "2026-12-07T03:00:00Z", "2026-12-14T03:00:00Z", ""},
		"no burst":                       {"2026-11-16T12:00:30Z", "2026-11-16T08:15:00Z", "", Run, "2026-11-16T12:00:00Z", "2026-11-16T12:15:00Z", "*/15 * * * *"},
		"new":                            {"2026-11-16T02:00:00Z", "", "", Mend, "", monday, ""},
		"clock went back far":            {"2026-11-16T02:00:00Z", "2027-11-15T03:00:00Z", "", Mend, "", monday, ""},
		"clock went back over a drill":   {"2026-11-16T02:59:58Z", "2026-11-23T03:00:00Z", monday, Wait, "2026-11-23T03:00:00Z", "2026-11-23T03:00:00Z", ""},
		"clock was ahead when last done": {"2026-11-16T02:00:00Z", "2027-11-22T03:00:00Z", "2027-11-15T03:00:00Z", Mend, "", monday, ""},
	} {
		t.Run(name, func(t *testing.T) {
			if tt.crontab == "" {
				tt.crontab = "0 3 * * 1"
			}
			s := store.DrillSchedule{Window: DefaultWindow}
			for text, field := range map[string]*time.Time{tt.next: &s.Next, tt.last: &s.LastDue} {
				if text != "" {
					*field = at(t, text)
				}
			}
			d := timetable(t, tt.crontab, "UTC").Decide(s, at(t, tt.now))
			want := Decision{Turn: tt.want, Next: at(t, tt.after)}
			if tt.due != "" {
				want.Due = at(t, tt.due)
			}
			if d != want {
				t.Errorf("got %+v, want %+v", d, want)
			}
		})
	}
}

// Whatever the clock and the outages do, no due time is begun twice, drills begin within their window, and while a
// controller runs and the clock goes on every due time is begun.
func TestDecideProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		zone := rapid.SampledFrom([]string{"UTC", "Europe/Paris", "America/New_York", "Australia/Lord_Howe"}).Draw(t, "zone")
		expression := rapid.SampledFrom([]string{"0 3 * * 1", "30 2 * * *", "0 */6 * * *", "0 0 1 * *"}).Draw(t, "cron")
		table, err := ParseTimetable(expression, zone)
		if err != nil {
			t.Fatal(err)
		}
		now := time.Date(2026, 3, 20, 0, 0, 0, 0, time.UTC).Add(time.Duration(rapid.IntRange(0, 300*24).Draw(t, "start")) * time.Hour)
		s := store.DrillSchedule{Window: DefaultWindow}
		begun := map[time.Time]bool{}
		for range rapid.IntRange(1, 60).Draw(t, "looks") {
			now = now.Add(time.Duration(rapid.IntRange(-120, 60*24*3).Draw(t, "minutes")) * time.Minute)
			for {
				d := table.Decide(s, now)
				if d.Turn == Wait {
					break
				}
				if d.Next.IsZero() || !d.Next.After(now) {
					t.Fatalf("next is %s at %s", d.Next, now)
				}
				if d.Turn == Run {
					if begun[d.Due] || d.Due.After(now) || now.Sub(d.Due) > s.Window {
						t.Fatalf("drill due %s begins at %s, before: %v", d.Due, now, begun[d.Due])
					}
					begun[d.Due] = true
				}
				if d.Turn != Mend {
					s.LastDue = d.Due
				}
				s.Next = d.Next
			}
		}
	})
}

func TestLimit(t *testing.T) {
	now := at(t, "2026-11-16T00:00:00Z")
	table := timetable(t, "0 3 * * 1", "Europe/Paris")
	if got := table.Limit(store.DrillSchedule{Window: DefaultWindow}, now); got != 7*24*time.Hour+time.Hour+DefaultWindow {
		t.Errorf("weekly, over the change of the clock: %s", got)
	}
	if got := table.Limit(store.DrillSchedule{OverdueAfter: time.Hour}, now); got != time.Hour {
		t.Errorf("as set: %s", got)
	}
}
