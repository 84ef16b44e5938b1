// Package drill holds what a rehearsal is besides the steps that carry it out: when it is due, the evidence that it
// leaves, and the report that a person reads, prints and hands on. It knows nothing of the engine or of sites.
package drill

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"understudy/internal/dr"
)

// A Check is the last look at a machine of a drill: when all had been brought up, were all of them healthy together?
type Check struct {
	Machine string  `json:"machine"`
	As      string  `json:"as"`    // its name in the drill
	Probe   string  `json:"probe"` // what was looked at, for people
	Passed  bool    `json:"passed"`
	Seconds float64 `json:"seconds"` // how long it took to answer
	Error   string  `json:"error,omitempty"`
}

// ItemKind says what a piece of evidence is.
type ItemKind string

// Kinds of evidence.
const (
	Screen  ItemKind = "screen"  // what the machine showed: a PNG
	Console ItemKind = "console" // the last text of its serial console
)

// An Item is a piece of evidence: a file in the archive, or why there is none.
type Item struct {
	Machine string    `json:"machine"`
	Kind    ItemKind  `json:"kind"`
	File    string    `json:"file,omitempty"`
	Size    int64     `json:"size,omitempty"` // bytes
	SHA256  string    `json:"sha256,omitempty"`
	Time    time.Time `json:"time,omitzero"`
	Missing string    `json:"missing,omitempty"`
	Data    []byte    `json:"data,omitempty"` // only in reports
}

// A Sample is what replication of the group was at one moment of a drill.
type Sample struct {
	Time      time.Time     `json:"t"`
	KnownGood time.Time     `json:"known,omitzero"` // the vault held everything up to this instant
	State     string        `json:"state,omitempty"`
	Objective time.Duration `json:"rpo,omitempty"`
}

// A Lag sums up how replication went on during a drill.
type Lag struct {
	From      time.Time `json:"from,omitzero"`
	To        time.Time `json:"to,omitzero"`
	Samples   int       `json:"samples"`
	Instants  int       `json:"instants"`         // how often the vault came to hold a newer instant
	Largest   float64   `json:"largestSeconds"`   // lag
	Objective float64   `json:"objectiveSeconds"` // the policy's RPO
	Paused    bool      `json:"paused,omitempty"` // a person had paused replication
	// Curve is the lag in seconds over the seconds since From, with the largest of each of at most CurvePoints spans.
	Curve [][2]float64 `json:"curve,omitempty"`
}

// CurvePoints bounds a Lag's curve.
const CurvePoints = 120

// Sum sums samples up, which are in the order of their times.
func Sum(samples []Sample) Lag {
	var l Lag
	var last time.Time
	for _, s := range samples {
		if s.State == "paused" {
			l.Paused = true
		}
		if s.KnownGood.IsZero() {
			continue
		}
		if l.Samples == 0 {
			l.From, last = s.Time, s.KnownGood
		}
		l.Samples++
		l.To = s.Time
		if s.KnownGood.After(last) {
			l.Instants++
			last = s.KnownGood
		}
		l.Objective = max(l.Objective, s.Objective.Seconds())
		l.Largest = max(l.Largest, s.Time.Sub(s.KnownGood).Seconds())
	}
	l.Curve = curve(samples, l)
	return l
}

func curve(samples []Sample, l Lag) [][2]float64 {
	span := l.To.Sub(l.From).Seconds()
	if l.Samples < 2 || span <= 0 {
		return nil
	}
	var out [][2]float64
	bucket := -1
	for _, s := range samples {
		if s.KnownGood.IsZero() {
			continue
		}
		at, lag := s.Time.Sub(l.From).Seconds(), max(0, s.Time.Sub(s.KnownGood).Seconds())
		b := min(int(at/span*CurvePoints), CurvePoints-1)
		switch {
		case b != bucket:
			out, bucket = append(out, [2]float64{round(at), round(lag)}), b
		case lag > out[len(out)-1][1]:
			out[len(out)-1] = [2]float64{round(at), round(lag)}
		}
	}
	return out
}

// round keeps milliseconds.
func round(seconds float64) float64 { return float64(int64(seconds*1000+0.5)) / 1000 }

// Stood reports whether replication made no progress although there was time for two objectives.
func (l Lag) Stood() bool {
	return !l.Paused && l.Samples > 0 && l.Instants == 0 && l.To.Sub(l.From).Seconds() > 2*l.Objective && l.Objective > 0
}

// Missed reports whether the lag was beyond the objective at some moment.
func (l Lag) Missed() bool { return l.Objective > 0 && l.Largest > l.Objective }

// objective names the objective, and whether it was missed.
func (l Lag) objective() string {
	if l.Missed() {
		return Seconds(l.Objective) + " (missed)"
	}
	return Seconds(l.Objective)
}

// Verdict says in a sentence what the measurement shows.
func (l Lag) Verdict() string {
	took := Seconds(l.To.Sub(l.From).Seconds())
	switch {
	case l.Samples == 0:
		return "replication was not measured"
	case l.Paused:
		return "replication was paused by a person before or during the drill"
	case l.Stood():
		return fmt.Sprintf("replication made no progress in %s", took)
	case l.Instants == 0:
		return fmt.Sprintf("replication was watched for %s only, largest lag %s, objective %s", took, Seconds(l.Largest), l.objective())
	}
	return fmt.Sprintf("replication went on: %s in %s, largest lag %s, objective %s",
		count(l.Instants, "newer instant"), took, Seconds(l.Largest), l.objective())
}

// ProbeText names what a probe looks at.
func ProbeText(p dr.Probe) string {
	switch p.Kind {
	case dr.ProbeTCP:
		return fmt.Sprintf("TCP port %d", p.Port)
	case dr.ProbeHTTP:
		return fmt.Sprintf("HTTP port %d, %s", p.Port, "/"+strings.TrimPrefix(p.Path, "/"))
	case dr.ProbeSerial:
		return fmt.Sprintf("console says %q", p.Text)
	case dr.ProbeAgent:
		return "guest agent answers"
	case dr.ProbeNone:
		return "machine runs"
	}
	return string(p.Kind)
}

// Seconds writes a length of time for people.
func Seconds(s float64) string {
	switch {
	case s < 0:
		return "-" + Seconds(-s)
	case s == 0:
		return "0 s"
	case s < 1:
		return fmt.Sprintf("%.0f ms", max(1, s*1000))
	case s < 10:
		return strings.TrimSuffix(fmt.Sprintf("%.1f", s), ".0") + " s"
	case s < 59.5:
		return fmt.Sprintf("%.0f s", s)
	}
	d := time.Duration(s * float64(time.Second)).Round(time.Second)
	units := []struct {
		name string
		d    time.Duration
	}{{"d", 24 * time.Hour}, {"h", time.Hour}, {"min", time.Minute}, {"s", time.Second}}
	i := slices.IndexFunc(units, func(u struct {
		name string
		d    time.Duration
	}) bool {
		return d >= u.d
	})
	text := fmt.Sprintf("%d %s", d/units[i].d, units[i].name)
	if i+1 < len(units) {
		if rest := d % units[i].d / units[i+1].d; rest > 0 {
			text += fmt.Sprintf(" %d %s", rest, units[i+1].name)
		}
	}
	return text
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// sortItems puts evidence in the order of a report: by machine, screens first.
func sortItems(items []Item) {
	slices.SortStableFunc(items, func(a, b Item) int {
		return cmp.Or(cmp.Compare(a.Machine, b.Machine), -cmp.Compare(a.Kind, b.Kind))
	})
}
