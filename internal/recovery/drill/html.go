package drill

import (
	"embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"math"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"
)

//go:embed report.html
var files embed.FS

// HTML writes the report as one page that loads nothing: style, charts and screens are in it, and it has no script.
func (r *Report) HTML(w io.Writer) error {
	page, err := template.New("report.html").Funcs(template.FuncMap{
		"seconds": Seconds, "instant": instant, "clock": clock, "day": day, "bytes": byteSize, "sentence": sentence, "whole": whole,
	}).ParseFS(files, "report.html")
	if err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	if err := page.Execute(w, r.page()); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

var unit = regexp.MustCompile(`(\d) (ms|s|min|h|d)\b`)

// whole keeps numbers and their units on one line.
func whole(s string) string { return unit.ReplaceAllString(s, "$1\u00a0$2") }

func instant(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04:05 UTC")
}

func clock(t time.Time) string { return t.UTC().Format("15:04:05") }

func day(t time.Time) string { return t.UTC().Format("Monday, 2 January 2006, 15:04 UTC") }

func byteSize(n int64) string {
	switch {
	case n < 1<<10:
		return fmt.Sprintf("%d B", n)
	case n < 1<<20:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
}

// page is the report as its template shows it.
type page struct {
	*Report
	Took    float64
	Cards   []card
	Rows    []row
	Lanes   []lane
	Ticks   []tick
	Chart   *chart
	Files   []Item
	Stages  bool // machines have different orders
	Settled string
}

// A card shows one machine.
type card struct {
	Machine
	Image   template.URL // data: URL of its screen
	NoImage string
	Console string
	NoText  string
	Up, Ran float64 // seconds since the request: healthy, started
}

// A row is one step on the time line of all of them; positions are percent.
type row struct {
	Step
	At, Took    float64
	Left, Width float64
	Mark        string
}

// A lane is a machine on the time line: waiting, booting until it is healthy.
type lane struct {
	Name                  string
	Y, X, Width, Done, To float64
	Healthy               bool
	Label                 string
}

type tick struct {
	X    float64
	Text string
}

// Measures of the charts, in units of their view boxes.
const (
	laneLeft, laneRight = 120.0, 800.0
	laneLabel           = 84.0 // right of a bar
	laneHeight          = 30.0
	chartLeft           = 46.0
	chartRight          = 800.0
	chartTop            = 14.0
	chartBottom         = 150.0
)

func (r *Report) page() page {
	p := page{Report: r, Files: nil}
	end := r.Ended
	if end.IsZero() {
		end = r.Generated
	}
	p.Took = max(0, end.Sub(r.Requested).Seconds())
	for _, m := range r.Machines {
		c := card{Machine: m, Ran: since(r.Requested, m.Started), Up: since(r.Requested, m.Healthy)}
		for _, it := range r.Evidence {
			if it.Machine != m.Name {
				continue
			}
			switch {
			case it.Kind == Screen && len(it.Data) > 0:
				c.Image = template.URL("data:image/png;base64," + base64.StdEncoding.EncodeToString(it.Data)) //nolint:gosec // our own bytes
			case it.Kind == Screen:
				c.NoImage = it.Missing
			case it.Kind == Console && len(it.Data) > 0:
				c.Console = Tail(it.Data, 28)
			case it.Kind == Console:
				c.NoText = it.Missing
			}
		}
		p.Cards = append(p.Cards, c)
		p.Stages = p.Stages || m.Order != r.Machines[0].Order
	}
	for _, it := range r.Evidence {
		if it.File != "" {
			p.Files = append(p.Files, it)
		}
	}
	for _, s := range r.Steps {
		p.Rows = append(p.Rows, r.row(s, p.Took))
	}
	p.Lanes, p.Ticks = r.lanes()
	p.Chart = r.chart()
	return p
}

func since(from, to time.Time) float64 {
	if to.IsZero() {
		return 0
	}
	return max(0, to.Sub(from).Seconds())
}

func (r *Report) row(s Step, took float64) row {
	w := row{Step: s, Mark: map[string]string{"succeeded": "ok", "failed": "bad", "cancelled": "warn", "running": "now", "waiting": "now"}[s.State]}
	if s.Started.IsZero() || took <= 0 {
		return w
	}
	end := s.Ended
	if end.IsZero() {
		end = r.Requested.Add(time.Duration(took * float64(time.Second)))
	}
	w.At, w.Took = since(r.Requested, s.Started), max(0, end.Sub(s.Started).Seconds())
	w.Left = math.Min(99, 100*w.At/took)
	w.Width = math.Min(100-w.Left, math.Max(0.6, 100*w.Took/took))
	return w
}

// lanes draws when each machine was started and became healthy.
func (r *Report) lanes() ([]lane, []tick) {
	span := 0.0
	for _, m := range r.Machines {
		span = max(span, since(r.Requested, m.Started), since(r.Requested, r.until(m)))
	}
	if span == 0 {
		return nil, nil
	}
	step := niceStep(span, 8)
	span = math.Ceil(span/step) * step
	x := func(s float64) float64 { return laneLeft + (laneRight-laneLeft-laneLabel)*s/span }
	var out []lane
	for i, m := range r.Machines {
		l := lane{Name: clip(m.Name, 15), Y: 8 + float64(i)*laneHeight, X: x(since(r.Requested, m.Started)), Healthy: m.Well()}
		switch {
		case m.Started.IsZero():
			l.X, l.To, l.Label = laneLeft, laneLeft, "not started"
		case m.Healthy.IsZero():
			l.To, l.Label = x(since(r.Requested, r.until(m))), "not healthy"
		default:
			l.To = x(since(r.Requested, m.Healthy))
			l.Label = Seconds(since(r.Requested, m.Healthy))
		}
		l.Width = max(2, l.To-l.X)
		out = append(out, l)
	}
	var ticks []tick
	for s := 0.0; s <= span+step/2; s += step {
		ticks = append(ticks, tick{x(s), Seconds(s)})
	}
	return out, ticks
}

// until is when a machine became healthy, or until when it was known not to be.
func (r *Report) until(m Machine) time.Time {
	if !m.Healthy.IsZero() || m.Started.IsZero() {
		return m.Healthy
	}
	until := m.Started
	for _, it := range r.Evidence {
		if it.Machine == m.Name && it.Time.After(until) {
			until = it.Time
		}
	}
	if until.Equal(m.Started) && !r.Ended.IsZero() {
		until = r.Ended
	}
	return until
}

// LanesHeight is the height of the machines' time line.
func (p page) LanesHeight() float64 { return 8 + float64(len(p.Lanes))*laneHeight }

// A chart is the lag of replication over the drill.
type chart struct {
	Line, Area      string // points and path
	Objective       float64
	ObjectiveText   string
	Bottom          float64
	Left, Right     float64
	Ticks, Levels   []tick
	Largest         float64
	LargestX, DownY float64
}

func (r *Report) chart() *chart {
	if r.Lag == nil || len(r.Lag.Curve) < 2 {
		return nil
	}
	c := &chart{Bottom: chartBottom, Left: chartLeft, Right: chartRight}
	curve := r.Lag.Curve
	span := curve[len(curve)-1][0]
	high := max(r.Lag.Largest, r.Lag.Objective) * 1.15
	if span <= 0 || high <= 0 {
		return nil
	}
	x := func(s float64) float64 { return chartLeft + (chartRight-chartLeft)*s/span }
	y := func(s float64) float64 { return chartBottom - (chartBottom-chartTop)*s/high }
	var line strings.Builder
	for _, p := range curve {
		fmt.Fprintf(&line, "%.1f,%.1f ", x(p[0]), y(p[1]))
	}
	c.Line = strings.TrimSpace(line.String())
	c.Area = fmt.Sprintf("M%.1f,%.1f L%s L%.1f,%.1f Z", chartLeft, chartBottom, strings.ReplaceAll(c.Line, " ", " L"), x(span), chartBottom)
	if r.Lag.Objective > 0 {
		c.Objective, c.ObjectiveText = y(r.Lag.Objective), "objective "+Seconds(r.Lag.Objective)
	}
	for s, step := 0.0, niceStep(span, 7); s <= span; s += step {
		c.Ticks = append(c.Ticks, tick{x(s), Seconds(s)})
	}
	for s, step := 0.0, niceStep(high, 3); s <= high; s += step {
		c.Levels = append(c.Levels, tick{y(s), Seconds(s)})
	}
	return c
}

// niceStep divides a span into at most n parts of a length that people count in.
func niceStep(span float64, n int) float64 {
	for _, s := range []float64{0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400} {
		if span/s <= float64(n) {
			return s
		}
	}
	return math.Ceil(span/float64(n)/86400) * 86400
}

func clip(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	return string([]rune(s)[:n-1]) + "…"
}

// Tail returns the last lines of what a console wrote, without what only a terminal understands.
func Tail(data []byte, lines int) string {
	text := strings.ToValidUTF8(string(data), "\uFFFD")
	var b strings.Builder
	for i := 0; i < len(text); {
		switch c := text[i]; {
		case c == 0x1b:
			i += escape(text[i:])
			continue
		case c == '\r':
			if i+1 < len(text) && text[i+1] != '\n' {
				b.WriteByte('\n')
			}
		case c == '\n' || c == '\t' || c >= ' ' && c != 0x7f:
			b.WriteByte(c)
		}
		i++
	}
	all := strings.Split(strings.TrimSpace(b.String()), "\n")
	var kept []string
	for _, l := range all {
		l = strings.TrimRight(l, " \t")
		if l == "" && (len(kept) == 0 || kept[len(kept)-1] == "") {
			continue
		}
		kept = append(kept, l)
	}
	return strings.Join(kept[max(0, len(kept)-lines):], "\n")
}

// escape is the length of the terminal's control sequence at the beginning of s.
func escape(s string) int {
	if len(s) < 2 {
		return len(s)
	}
	switch s[1] {
	case '[': // ends with a byte of @ to ~
		for i := 2; i < len(s); i++ {
			if s[i] >= '@' && s[i] <= '~' {
				return i + 1
			}
		}
		return len(s)
	case ']': // ends with BEL or ESC \
		for i := 2; i < len(s); i++ {
			if s[i] == 7 {
				return i + 1
			}
			if s[i] == 0x1b && i+1 < len(s) && s[i+1] == '\\' {
				return i + 2
			}
		}
		return len(s)
	case '(', ')', '#', '%':
		return min(3, len(s))
	}
	return 2
}
