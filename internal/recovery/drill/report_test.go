package drill

import (
	"bytes"
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"regexp"
	"strings"
	"testing"
	"time"

	"understudy/internal/dr"
)

var began = time.Date(2026, 11, 16, 2, 0, 0, 0, time.UTC)

func after(seconds float64) time.Time {
	return began.Add(time.Duration(seconds * float64(time.Second)))
}

// picture is a screen with something on it.
func picture(t testing.TB) []byte {
	t.Helper()
	m := image.NewRGBA(image.Rect(0, 0, 720, 400))
	for y := range 400 {
		for x := range 720 {
			m.Set(x, y, color.RGBA{0, 0, 0, 255})
			if y%16 > 3 && y%16 < 12 && y < 180 && (x*7+y/16*31)%23 < 9 && x < 90+(y/16*97)%420 {
				m.Set(x, y, color.RGBA{170, 170, 170, 255})
			}
		}
	}
	var b bytes.Buffer
	if err := png.Encode(&b, m); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

const consoleText = "\x1b[2J\x1b[01;32m[    0.000000] Linux version 6.12\x1b[0m\r\n[    1.201] virtio_blk vda: 196608 512-byte blocks\r\n" +
	"understudy-guest: boot role=db\r\nunderstudy-guest: net eth0=10.77.0.10/24\r\nunderstudy-guest: data /dev/vda clean <ok> & mounted\r\nshop: 18204 records, the newest of 01:59:58\r\nshop: listening on :7000\r\n"

// sample is a drill of three machines.
func sample(t testing.TB) *Report {
	r := &Report{
		Generated: after(40), Program: "0.3.0", Run: "r1a2b3c4", Kind: "drill", Group: "shop", State: "succeeded", By: "schedule", Due: began,
		Plan: "shop-plan, version 3", Requested: began, Started: after(0.1), Ended: after(31.4), Source: "east", Target: "west", Vault: "main",
		Point: "1-1842", PointTime: after(-2.5), RPO: 2.4, RTO: 21.3, Healthy: after(21.3), Cleaned: after(31.2),
		Lag: &Lag{From: began, To: after(27), Samples: 54, Instants: 11, Largest: 5.8, Objective: 5},
		Machines: []Machine{
			{Name: "shop-db", As: "shop-db-test-r1a2b3c4", Order: 1, Probe: "TCP port 7000", Started: after(1.9), Healthy: after(11.8), RTO: 11.8,
				Check: &Check{Machine: "shop-db", Passed: true, Seconds: 0.004}},
			{Name: "shop-cache", As: "shop-cache-test-r1a2b3c4", Order: 1, Probe: "machine runs", Started: after(2.1), Healthy: after(2.4), RTO: 2.4,
				Check: &Check{Machine: "shop-cache", Passed: true, Seconds: 0.001}},
			{Name: "shop-web", As: "shop-web-test-r1a2b3c4", Order: 2, Probe: "HTTP port 8080, /", Started: after(12), Healthy: after(21.3), RTO: 21.3,
				Check: &Check{Machine: "shop-web", Passed: true, Seconds: 0.03}},
		},
		Actions: []Action{
			{Name: "tell the people on call", Kind: "http", Outcome: "done", Seconds: 0.2},
			{Name: "point DNS to west", Kind: "script", Outcome: "not-applicable", Note: "only for real failovers"},
		},
		Extensions: []dr.ExtensionResult{{Machine: "shop-db", Extension: "metrics-agent", Outcome: dr.ExtensionRestored, Heartbeat: after(20)}},
	}
	for i := range 54 {
		at := float64(i) * 0.5
		r.Lag.Curve = append(r.Lag.Curve, [2]float64{at, 0.8 + float64(i%11)*0.5})
	}
	step := func(title, message string, from, to float64) {
		r.Steps = append(r.Steps, Step{Title: title, State: "succeeded", Started: after(from), Ended: after(to), Attempts: 1, Message: message})
	}
	step("choose the recovery point", "point 1-1842 of 2026-11-16T01:59:57Z", 0.1, 0.4)
	step("serve the disks of point 1-1842", "9 disks", 0.4, 0.6)
	for _, m := range []string{"shop-db", "shop-cache", "shop-web"} {
		step("create "+m+"-test-r1a2b3c4 at west", "", 0.6, 1.8)
	}
	step("start shop-db-test-r1a2b3c4 at west", "", 1.9, 2.4)
	step("wait for shop-db-test-r1a2b3c4 to accept connections on port 7000", "", 2.4, 11.8)
	step("start shop-web-test-r1a2b3c4 at west", "", 12, 12.5)
	step("wait for shop-web-test-r1a2b3c4 to answer HTTP on port 8080", "", 12.5, 21.3)
	step("take evidence of shop-db-test-r1a2b3c4", "healthy, screen, console", 21.4, 22.2)
	step("measure how replication went on", r.Lag.Verdict(), 27, 27.1)
	step("delete shop-db-test-r1a2b3c4 at west", "", 27.2, 30.5)
	step("record that nothing of the drill is left", "", 31, 31.2)
	a := Archive{Dir: t.TempDir()}
	for i, m := range r.Machines {
		for kind, data := range map[ItemKind][]byte{Screen: picture(t), Console: []byte(consoleText)} {
			item, err := a.Put(r.Run, Item{Machine: m.Name, Kind: kind, File: FileOf(i, m.Name, kind), Time: after(22)}, data)
			if err != nil {
				t.Fatal(err)
			}
			r.Evidence = append(r.Evidence, item)
		}
	}
	r.Evidence = a.Load(r.Run, r.Evidence)
	r.Complete()
	return r
}

// broken is the same drill when the database did not answer.
func broken(t testing.TB) *Report {
	r := sample(t)
	r.State, r.RTO, r.Healthy = "failed", 0, time.Time{}
	r.Error = "machine shop-db-test-r1a2b3c4 is not healthy: it does not accept connections on port 7000: took too long (more than 2m0s): connection refused"
	r.Machines[0].Healthy, r.Machines[0].RTO = time.Time{}, 0
	r.Machines[0].Check = &Check{Machine: "shop-db", Error: "dial tcp 127.0.0.1:7000: connection refused", Seconds: 2}
	r.Machines[2] = Machine{Name: "shop-web", Order: 2, Probe: "HTTP port 8080, /", Check: &Check{Machine: "shop-web", Error: "the machine is off"}}
	r.Steps[6].State, r.Steps[6].Error = "failed", "took too long"
	r.Actions, r.Extensions = nil, nil
	for i, it := range r.Evidence {
		if it.Machine == "shop-web" {
			r.Evidence[i] = Item{Machine: it.Machine, Kind: it.Kind, Missing: "the machine is off"}
		}
	}
	r.Complete()
	return r
}

func render(t testing.TB, r *Report) string {
	t.Helper()
	var b bytes.Buffer
	if err := r.HTML(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

var foreign = regexp.MustCompile(`(?i)(src|href|url\(|@import|<script|<link|<iframe|https?://)[^>]{0,60}`)

func TestReportIsOneFile(t *testing.T) {
	for name, r := range map[string]*Report{"passed": sample(t), "failed": broken(t), "bare": {Run: "r1", Kind: "commit", State: "running", Requested: began, Generated: after(3)}} {
		r.Complete()
		html := render(t, r)
		for _, m := range foreign.FindAllString(html, -1) {
			if !strings.HasPrefix(m, `src="data:image/png;base64,`) && !strings.HasPrefix(m, "src 'none'; img-src data:; style-src 'unsafe-inline'\"") {
				t.Errorf("%s: loads or leads elsewhere: %s", name, m)
			}
		}
		if strings.Contains(html, "ZgotmplZ") || strings.Contains(html, "<no value>") || strings.Contains(html, "\x1b") {
			t.Errorf("%s: the template does not fit", name)
		}
	}
}

func TestReportSays(t *testing.T) {
	for name, tt := range map[string]struct {
		r    *Report
		want []string
		not  []string
	}{
		"passed": {sample(t), []string{">passed<", "All 3 machines came up at west from recovery point 1-1842", "Nothing of it was left behind.",
			"Replication went on: 11 newer instants in 27\u00a0s, largest lag 5.8\u00a0s, objective 5\u00a0s", "3 of 3", "shop-plan, version 3",
			"clean &lt;ok&gt; &amp; mounted", "answered again in 4 ms", "metrics-agent", "polyline", "sha256"}, []string{"01;32m"}},
		"failed": {broken(t), []string{">failed<", "It failed: 1 of 3 machines came up and stayed healthy.", "does not accept connections on port 7000",
			"No picture: the machine is off", "not started"}, []string{"All 3 machines"}},
	} {
		html := render(t, tt.r)
		for _, s := range tt.want {
			if !strings.Contains(html, s) {
				t.Errorf("%s: does not say %q", name, s)
			}
		}
		for _, s := range tt.not {
			if strings.Contains(html, s) {
				t.Errorf("%s: says %q", name, s)
			}
		}
	}
}

// Nothing that a machine writes or is named becomes part of the page.
func TestReportEscapes(t *testing.T) {
	r := sample(t)
	const evil = `"><script>alert(1)</script><img src=x onerror=alert(1)>`
	r.Group, r.Error, r.Machines[0].Name, r.Steps[0].Message, r.Steps[0].State, r.Plan = evil, evil, evil, evil, evil, evil
	for i := range r.Evidence {
		r.Evidence[i].Machine = evil
		if r.Evidence[i].Kind == Console {
			r.Evidence[i].Data = []byte(evil)
		}
	}
	html := render(t, r)
	if strings.Contains(html, "<script") || strings.Contains(html, "<img src=x") {
		t.Error("markup got through")
	}
}

func TestReportJSON(t *testing.T) {
	r := sample(t)
	var b bytes.Buffer
	if err := r.JSON(&b); err != nil {
		t.Fatal(err)
	}
	var back Report
	if err := json.Unmarshal(b.Bytes(), &back); err != nil {
		t.Fatal(err)
	}
	if back.Format != 1 || back.Verdict != Passed || back.RTO != 21.3 || len(back.Evidence) != 6 || !bytes.Equal(back.Evidence[0].Data, r.Evidence[0].Data) {
		t.Errorf("%+v", back)
	}
}

func TestArchive(t *testing.T) {
	a := Archive{Dir: t.TempDir() + "/evidence"}
	item, err := a.Put("r1", Item{Machine: "db/1", Kind: Console, File: FileOf(0, "db/1", Console)}, []byte("text"))
	if err != nil || item.File != "01-db_1-console.txt" || item.Size != 4 {
		t.Fatalf("%+v %v", item, err)
	}
	if got := a.Load("r1", []Item{item})[0]; string(got.Data) != "text" || got.Missing != "" {
		t.Errorf("%+v", got)
	}
	item.SHA256 = strings.Repeat("0", 64)
	if got := a.Load("r1", []Item{item})[0]; !strings.Contains(got.Missing, "changed since") || got.Data != nil {
		t.Errorf("changed: %+v", got)
	}
	for _, file := range []string{"../r2/x", "", ".new-1", "a/b", "none.txt", "..", "/etc/passwd"} {
		if _, err := a.Get("r1", file); dr.KindOf(err) != dr.KindNotFound {
			t.Errorf("%q: %v", file, err)
		}
	}
	if _, err := a.Get("../r1", item.File); dr.KindOf(err) != dr.KindNotFound {
		t.Error(err)
	}
	for i := range 3 {
		if err := a.Note("r1", Sample{Time: after(float64(i)), KnownGood: after(float64(i) - 1), Objective: 5 * time.Second}); err != nil {
			t.Fatal(err)
		}
	}
	if list, err := a.Samples("r1"); err != nil || len(list) != 3 {
		t.Errorf("%v %v", list, err)
	}
	if runs, err := a.Runs(); err != nil || fmt.Sprint(runs) != "[r1]" {
		t.Errorf("%v %v", runs, err)
	}
	if err := a.Remove("r1"); err != nil {
		t.Error(err)
	}
	if got := a.Load("r1", []Item{item})[0]; got.Missing != "no longer kept" {
		t.Errorf("removed: %+v", got)
	}
	if runs, err := (Archive{Dir: a.Dir + "/none"}).Runs(); err != nil || runs != nil {
		t.Errorf("%v %v", runs, err)
	}
}

func TestSum(t *testing.T) {
	sampled := func(n int, known func(at float64) float64, state string) (list []Sample) {
		for i := range n {
			at := float64(i) / 2
			list = append(list, Sample{Time: after(at), KnownGood: after(known(at)), State: state, Objective: 5 * time.Second})
		}
		return list
	}
	steady := Sum(sampled(100, func(at float64) float64 { return float64(int(at/5))*5 - 1 }, ""))
	if steady.Instants != 9 || steady.Largest != 5.5 || steady.Stood() || steady.Objective != 5 {
		t.Errorf("%+v", steady)
	}
	if long := Sum(sampled(5000, func(at float64) float64 { return at - 1 }, "")); len(long.Curve) > CurvePoints || len(long.Curve) < CurvePoints/2 {
		t.Errorf("curve of %d points", len(long.Curve))
	}
	still := Sum(sampled(60, func(float64) float64 { return -1 }, ""))
	if !still.Stood() || still.Verdict() != "replication made no progress in 30 s" {
		t.Errorf("%+v %s", still, still.Verdict())
	}
	if paused := Sum(sampled(60, func(float64) float64 { return -1 }, "paused")); paused.Stood() || !strings.Contains(paused.Verdict(), "paused by a person") {
		t.Errorf("%+v", paused)
	}
	if short := Sum(sampled(6, func(float64) float64 { return -1 }, "")); short.Stood() || short.Verdict() != "replication was watched for 2.5 s only, largest lag 3.5 s, objective 5 s" {
		t.Errorf("%+v %s", short, short.Verdict())
	}
	if none := Sum(nil); none.Verdict() != "replication was not measured" || none.Curve != nil {
		t.Errorf("%+v", none)
	}
}

func TestTail(t *testing.T) {
	for in, want := range map[string]string{
		"\x1b[1;31mred\x1b[0m\r\nnext":     "red\nnext",
		"a\r\n\r\n\r\n\r\nb":               "a\n\nb",
		"\x1b]0;title\x07shell$ ":          "shell$",
		"\x1b]0;title\x1b\\x":              "x",
		"1\n2\n3\n4\n5":                    "3\n4\n5",
		"over\rwritten":                    "over\nwritten",
		"bad \xff byte\x00\x08":            "bad \uFFFD byte",
		"\x1b[":                            "",
		"\x1b":                             "",
		"\x1b(Btext":                       "text",
		"cut \x1b[38;5":                    "cut",
		"login: \x1b[6n":                   "login:",
		"\n\n\n":                           "",
		"tab\tkept":                        "tab\tkept",
		"\x1b=\x1b>keypad":                 "keypad",
		"\x1b]52;c;unended and so no text": "",
	} {
		if got := Tail([]byte(in), 3); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func FuzzTail(f *testing.F) {
	f.Add([]byte(consoleText))
	f.Add([]byte("\x1b]\x1b"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if got := Tail(data, 5); strings.ContainsRune(got, 0x1b) || strings.Count(got, "\n") > 4 {
			t.Errorf("%q", got)
		}
	})
}

func TestSeconds(t *testing.T) {
	for in, want := range map[float64]string{0: "0 s", 0.0001: "1 ms", 0.25: "250 ms", 3: "3 s", 3.21: "3.2 s", 42.4: "42 s", 59.7: "1 min", 61: "1 min 1 s",
		3600: "1 h", 7260: "2 h 1 min", 90000: "1 d 1 h", -2: "-2 s"} {
		if got := Seconds(in); got != want {
			t.Errorf("%v: %q, want %q", in, got, want)
		}
	}
}
