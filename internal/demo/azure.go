package demo

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"understudy/internal/api/client"
	"understudy/internal/api/wire"
	"understudy/internal/dr"
)

// AzureOptions of the demonstration in a simulated Azure.
type AzureOptions struct {
	Options
	Simulator string // the azsim program
}

// cloud is the simulated Azure.
type cloud struct {
	URL        string            `json:"url"`
	CA         string            `json:"ca"`
	Env        map[string]string `json:"env"`
	East, West map[string]string // settings of the two sites
	client     *http.Client
	process    *exec.Cmd
}

const (
	france = "france"
	brazil = "brazil"
)

// azurePlan starts the database before the front, and puts back what Azure does not copy.
const azurePlan = `name: shop
group: shop
stages:
  - {name: database, machines: [shop-db]}
  - {name: front, machines: [shop-web]}
after:
  - {name: revive the agents, extensions: {}}
`

// RunAzure shows two regions of a simulated Azure: protection, the loss of one region, a failover to the other with the
// monitoring agents alive again, the way back, and a machine cloned between regions while its keys expire.
func RunAzure(ctx context.Context, o AzureOptions) (s Summary, err error) {
	if _, err := os.Stat(o.Simulator); err != nil {
		return Summary{}, dr.WithHint(fmt.Errorf("demo: the simulated Azure is not there: %w", err), dr.KindUnavailable,
			"build it in the project's folder: go build -o bin/azsim ./test/azsim; then give it with --simulator")
	}
	d := &demo{Options: o.Options, began: time.Now()}
	if d.dir, err = os.MkdirTemp("", "understudy-demo-"); err != nil {
		return Summary{}, err
	}
	c := &cloud{}
	err = d.playAzure(ctx, o, c)
	left := d.strike()
	if c.process != nil {
		_ = c.process.Wait() // it was ended
	}
	if err != nil {
		return d.summary, fmt.Errorf("demo: %w", errors.Join(err, left))
	}
	d.check("nothing is left running", left == nil, errorText(left))
	return d.summary, d.concludeAzure()
}

func (d *demo) playAzure(ctx context.Context, o AzureOptions, c *cloud) error {
	d.act("Two regions of a simulated Azure")
	if err := c.start(ctx, o.Simulator, filepath.Join(d.dir, "azure")); err != nil {
		return err
	}
	for k, v := range c.Env {
		d.env = append(d.env, k+"="+v)
	}
	if err := d.startController(ctx); err != nil {
		return err
	}
	if err := d.configureAzure(ctx, c); err != nil {
		return err
	}
	writer := c.writer(ctx)
	defer writer.stop()
	if err := d.protectAzure(ctx); err != nil {
		return err
	}
	if err := d.loseRegion(ctx, c, writer); err != nil {
		return err
	}
	if err := d.wayBack(ctx, c); err != nil {
		return err
	}
	return d.cloneAzure(ctx, c)
}

// start starts the simulator, and returns when it is ready.
func (c *cloud) start(ctx context.Context, program, dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	c.process = exec.Command(program, "-scenario", "shop", "-dir", dir, "-copy-time", "1s")
	c.process.SysProcAttr = detached()
	out, err := c.process.StdoutPipe()
	if err != nil {
		return err
	}
	if err := c.process.Start(); err != nil {
		return fmt.Errorf("start the simulated Azure: %w", err)
	}
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("the simulated Azure did not start: %w", err)
	}
	if err := json.Unmarshal(line, c); err != nil {
		return err
	}
	ca, err := os.ReadFile(c.CA)
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	c.client = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	return ctx.Err()
}

// control asks the simulator for what nobody can ask of Azure.
func (c *cloud) control(ctx context.Context, method, path string, body io.Reader) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.URL+"/_sim/"+path, body)
	if err != nil {
		return nil, err
	}
	resp, err := c.client.Do(req)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, data)
	}
	return data, errors.Join(err, resp.Body.Close())
}

func (c *cloud) setDown(ctx context.Context, region string, down bool) error {
	_, err := c.control(ctx, http.MethodPost, "regions/"+region, strings.NewReader(fmt.Sprintf(`{"down":%v}`, down)))
	return err
}

func (c *cloud) disk(id string, off, n int64) string {
	return "disks?" + url.Values{"id": {id}, "offset": {fmt.Sprint(off)}, "length": {fmt.Sprint(n)}}.Encode()
}

// Records that a guest writes: each a page with its number at the beginning.
const (
	recordsAt  = 1 << 20
	recordSize = 512
)

// A writer stands for the database: it writes a record after the other, as a guest writes to its disk.
type writer struct {
	stop  func()
	newer atomic.Uint64 // newest record that was acknowledged
	at    atomic.Int64  // when, in Unix nanoseconds
}

func (c *cloud) writer(ctx context.Context) *writer {
	ctx, cancel := context.WithCancel(ctx)
	w := &writer{}
	disk := "/subscriptions/" + c.Env["AZURE_SUBSCRIPTION_ID"] + "/resourceGroups/" + c.East["resource-group"] + "/providers/Microsoft.Compute/disks/shop-db-disk1"
	var done sync.WaitGroup
	done.Go(func() {
		for n := uint64(1); ctx.Err() == nil; n++ {
			record := make([]byte, recordSize)
			binary.BigEndian.PutUint64(record, n)
			if _, err := c.control(ctx, http.MethodPut, c.disk(disk, recordsAt+int64(n-1)*recordSize, 0), bytes.NewReader(record)); err != nil {
				return // it is over
			}
			w.newer.Store(n)
			w.at.Store(time.Now().UnixNano())
			select {
			case <-ctx.Done():
			case <-time.After(10 * time.Millisecond):
			}
		}
	})
	w.stop = func() { cancel(); done.Wait() }
	return w
}

// records reads how many records a disk has, and whether they are all there.
func (c *cloud) records(ctx context.Context, id string) (n uint64, whole bool, err error) {
	data, err := c.control(ctx, http.MethodGet, c.disk(id, recordsAt, 32<<20), nil)
	if err != nil {
		return 0, false, err
	}
	whole = true
	for i := 0; i+8 <= len(data); i += recordSize {
		if got := binary.BigEndian.Uint64(data[i:]); got != 0 {
			whole = whole && got == uint64(i/recordSize)+1 && got == n+1
			n = got
		}
	}
	return n, whole, nil
}

func (d *demo) configureAzure(ctx context.Context, c *cloud) error {
	for name, settings := range map[string]map[string]string{france: c.East, brazil: c.West} {
		s := wire.Site{Name: name, Provider: "azure", Config: map[string]string{"network.default": "lan/default", "workspace": "shop", "log-endpoint": c.URL, "poll": "100ms"}}
		maps.Copy(s.Config, settings)
		other := c.East["location"]
		if name == france {
			other = c.West["location"]
		}
		s.Config["dcr.logs-"+other], s.Config["dcr.logs"] = "logs-"+settings["location"], "logs"
		if _, err := d.client.AddSite(ctx, s); err != nil {
			return err
		}
		machines, err := d.client.ListMachines(ctx, name)
		if err != nil {
			return err
		}
		d.say("site %s: %s, resource group %s, %d machines", name, settings["location"], settings["resource-group"], len(machines))
	}
	if _, err := d.client.AddVault(ctx, wire.Vault{Name: "main", URL: "file://" + filepath.Join(d.dir, "vault")}); err != nil {
		return err
	}
	_, err := d.client.PutPolicy(ctx, wire.Policy{Name: "fast", RPO: wire.Duration(RPO), Keep: "all for 1h"})
	return err
}

func (d *demo) protectAzure(ctx context.Context) error {
	d.act("Protected: from france to brazil")
	_, err := d.client.Protect(ctx, wire.Group{Name: group, Site: france, Target: brazil, Vault: "main", Policy: "fast", Machines: []wire.GroupMachine{
		{Name: dbName, Order: 1, Probe: &wire.Probe{Kind: "agent"}}, {Name: web, Order: 2, Probe: &wire.Probe{Kind: "serial", Text: "login:"}}}})
	if err != nil {
		return err
	}
	if _, err := d.client.ApplyPlan(ctx, wire.PlanText{File: "shop.yaml", Text: azurePlan}); err != nil {
		return err
	}
	list, err := d.client.GroupExtensions(ctx, group, client.GroupExtensionsQuery{Refresh: true})
	if err != nil {
		return err
	}
	alive := 0
	for _, v := range list {
		for _, e := range v.Extensions {
			d.say("%s on %s is %s", e.Name, v.Machine, e.Status)
			if e.Status == dr.ExtensionHealthy {
				alive++
			}
		}
	}
	d.check("both monitoring agents are healthy before", alive == 2, "")
	// The next point carries the inventory that was just taken.
	for range 3 {
		cycle, err := d.client.Sync(ctx, group, client.SyncQuery{})
		if err != nil {
			return err
		}
		d.say("a cycle: read %d bytes, changed %d", cycle.Read, cycle.Changed)
		if err := sleep(ctx, 500*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

func sleep(ctx context.Context, t time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(t):
		return nil
	}
}

// loseRegion takes france down in mid-write, and fails over.
func (d *demo) loseRegion(ctx context.Context, c *cloud, w *writer) error {
	d.act("france is down")
	if err := c.setDown(ctx, c.East["location"], true); err != nil {
		return err
	}
	w.stop()
	down := time.Now()
	d.summary.Acknowledged = w.newer.Load()
	run, err := d.client.Failover(ctx, group, wire.Failover{Kind: "unplanned", Plan: group})
	if err != nil {
		return err
	}
	if run, err = d.waitRun(ctx, run); err != nil {
		return err
	}
	d.summary.RTOSeconds = time.Since(down).Seconds()
	data, err := d.diskOf(ctx, brazil, dbName, "data0")
	if err != nil {
		return err
	}
	n, whole, err := c.records(ctx, data)
	if err != nil {
		return err
	}
	d.summary.Recovered, d.summary.Lost = n, d.summary.Acknowledged-n
	d.check("every record up to the recovery point is there, in order", whole && n > 0, fmt.Sprintf("%d of %d", n, d.summary.Acknowledged))
	d.summary.Extensions = d.restored(run)
	d.check("the plan revived both monitoring agents in brazil: fresh heartbeats", d.summary.Extensions == 2, "")
	return nil
}

// restored counts the extensions that a run put back, and tells of each.
func (d *demo) restored(run wire.Run) (n int) {
	list, _ := run.Result["extensions"].([]any)
	for _, v := range list {
		m, _ := v.(map[string]any)
		d.say("%v of %v: %v: %v", m["extension"], m["machine"], m["outcome"], m["reason"])
		if m["outcome"] == string(dr.ExtensionRestored) && m["heartbeat"] != nil {
			n++
		}
	}
	return n
}

// diskOf is the ID of a disk of a machine.
func (d *demo) diskOf(ctx context.Context, site, machine, disk string) (string, error) {
	machines, err := d.client.ListMachines(ctx, site)
	if err != nil {
		return "", err
	}
	for _, m := range machines {
		for _, one := range m.Disks {
			if m.Name == machine && one.Name == disk {
				return one.Path, nil
			}
		}
	}
	return "", fmt.Errorf("%s at %s has no disk %s", machine, site, disk)
}

// wayBack lets france come back, and brings the group home with what was written in brazil.
func (d *demo) wayBack(ctx context.Context, c *cloud) error {
	d.act("france is back, and the shop goes home")
	if err := c.setDown(ctx, c.East["location"], false); err != nil {
		return err
	}
	if err := d.splitBrain(ctx); err != nil {
		return err
	}
	steps := []struct {
		name string
		do   func() (wire.Run, error)
	}{
		{"commit", func() (wire.Run, error) { return d.client.Commit(ctx, group) }},
		{"reprotect", func() (wire.Run, error) { return d.client.Reprotect(ctx, group) }},
		{"failback", func() (wire.Run, error) { return d.client.Failback(ctx, group, wire.Failback{Plan: group}) }},
	}
	written := d.summary.Recovered
	for _, s := range steps {
		if s.name == "failback" {
			data, err := d.diskOf(ctx, brazil, dbName, "data0")
			if err != nil {
				return err
			}
			for range 100 {
				written++
				record := make([]byte, recordSize)
				binary.BigEndian.PutUint64(record, written)
				if _, err := c.control(ctx, http.MethodPut, c.disk(data, recordsAt+int64(written-1)*recordSize, 0), bytes.NewReader(record)); err != nil {
					return err
				}
			}
			d.say("100 records were written in brazil")
		}
		run, err := s.do()
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		if run, err = d.waitRun(ctx, run); err != nil {
			return err
		}
		if s.name == "failback" {
			d.check("the way back revived both agents in france", d.restored(run) == 2, "")
		}
	}
	data, err := d.diskOf(ctx, france, dbName, "data0")
	if err != nil {
		return err
	}
	n, whole, err := c.records(ctx, data)
	d.check("the way back lost nothing", err == nil && whole && n == written, fmt.Sprintf("%d records of %d", n, written))
	return err
}

// splitBrain waits until the machines that came back to life in france are found and held, and keeps brazil's.
func (d *demo) splitBrain(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		st, err := d.client.GroupStatus(ctx, group)
		if err != nil {
			return err
		}
		if len(st.SplitBrain) > 0 {
			d.say("%s", strings.Join(st.SplitBrain, "; "))
			d.check("the machines that came back to life in france were stopped and held", true, "")
			run, err := d.client.Resolve(ctx, group, wire.Resolve{Keep: brazil})
			if err != nil {
				return err
			}
			_, err = d.waitRun(ctx, run)
			return err
		}
		if err := sleep(ctx, 200*time.Millisecond); err != nil {
			return fmt.Errorf("wait for the machines of france to be found: %w", err)
		}
	}
}

// cloneAzure clones a machine to the other region while the keys to its disks expire again and again.
func (d *demo) cloneAzure(ctx context.Context, c *cloud) error {
	d.act("shop-db is cloned from france to brazil, while keys expire")
	began := time.Now()
	run, err := d.client.Clone(ctx, wire.Clone{Machine: dbName, Site: france, To: brazil, As: "shop-db-copy", Verify: true})
	if err != nil {
		return err
	}
	expiring, stop := context.WithCancel(ctx)
	var expired atomic.Int64
	var done sync.WaitGroup
	done.Go(func() {
		for expiring.Err() == nil {
			if _, err := c.control(expiring, http.MethodPost, "expire", nil); err == nil {
				expired.Add(1)
			}
			_ = sleep(expiring, 50*time.Millisecond) // or the end
		}
	})
	_, err = d.waitRun(ctx, run)
	stop()
	done.Wait()
	if err != nil {
		return err
	}
	var same bool
	original, err := d.diskOf(ctx, france, dbName, "data0")
	if err != nil {
		return err
	}
	copied, err := d.diskOf(ctx, brazil, "shop-db-copy", "data0")
	if err != nil {
		return err
	}
	a, _, aerr := c.records(ctx, original)
	b, whole, berr := c.records(ctx, copied)
	same = whole && a == b && a > 0
	d.say("cloned in %.1f s; keys were made to expire %d times", time.Since(began).Seconds(), expired.Load())
	d.check("the clone equals its source, although keys expired in the middle", same && expired.Load() > 0, fmt.Sprintf("%d records", b))
	return errors.Join(aerr, berr)
}

// concludeAzure prints the summary.
func (d *demo) concludeAzure() error {
	s := &d.summary
	s.OK = true
	for _, c := range s.Checks {
		s.OK = s.OK && c.OK
	}
	d.act("What happened")
	fmt.Fprintf(d.Story, "  records acknowledged before the loss  %d\n", s.Acknowledged)
	fmt.Fprintf(d.Story, "  records recovered                     %d\n", s.Recovered)
	fmt.Fprintf(d.Story, "  records lost                          %d\n", s.Lost)
	fmt.Fprintf(d.Story, "  achieved RTO, loss to agents alive    %.1f s (no guest boots in the simulation)\n", s.RTOSeconds)
	fmt.Fprintf(d.Story, "  extensions restored by the plan       %d\n\n", s.Extensions)
	return d.finishStory()
}
