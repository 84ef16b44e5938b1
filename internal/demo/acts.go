package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"understudy/internal/api/client"
	"understudy/internal/api/wire"
	"understudy/internal/demo/guest/shop"
)

// till listens to the database's acknowledgements.
type till struct {
	addr string
	stop context.CancelFunc
	done chan struct{}

	mu    sync.Mutex
	first uint64
	acks  []ack // of first, first+1, ...
	err   error
}

type ack struct {
	sum string
	at  time.Time
}

// listen starts to note acknowledgements.
func listen(ctx context.Context, addr string) *till {
	ctx, cancel := context.WithCancel(ctx)
	t := &till{addr: addr, stop: cancel, done: make(chan struct{})}
	go func() {
		defer close(t.done)
		err := shop.Watch(ctx, addr, func(a shop.Ack) error {
			t.mu.Lock()
			defer t.mu.Unlock()
			if len(t.acks) == 0 {
				t.first = a.Number
			}
			if a.Number != t.first+uint64(len(t.acks)) {
				return fmt.Errorf("acknowledgement %d follows %d", a.Number, t.first+uint64(len(t.acks))-1)
			}
			t.acks = append(t.acks, ack{a.Sum, time.Now()})
			return nil
		})
		t.mu.Lock()
		t.err = err
		t.mu.Unlock()
	}()
	return t
}

func (t *till) close() {
	t.stop()
	<-t.done
}

// newest is the highest record number acknowledged so far.
func (t *till) newest() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.acks) == 0 {
		return 0
	}
	return t.first + uint64(len(t.acks)) - 1
}

// find returns what was acknowledged for a record.
func (t *till) find(number uint64) (ack, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if number < t.first || number >= t.first+uint64(len(t.acks)) {
		return ack{}, false
	}
	return t.acks[number-t.first], true
}

// over reports whether the database acknowledges no more.
func (t *till) over() bool {
	select {
	case <-t.done:
		return true
	default:
		return false
	}
}

// waitFor waits until a record is acknowledged.
func (t *till) waitFor(ctx context.Context, number uint64) error {
	for t.newest() < number {
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for record %d of the database: %w", number, ctx.Err())
		case <-t.done:
			return fmt.Errorf("wait for record %d of the database: %w", number, t.err)
		case <-time.After(20 * time.Millisecond):
		}
	}
	return nil
}

// page asks the web front for the newest record.
func page(ctx context.Context, addr string) (uint64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/", nil)
	if err != nil {
		return 0, err
	}
	c := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := c.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	var body struct {
		Record uint64 `json:"record"`
		Error  string `json:"error"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&body); err != nil {
		return 0, err
	}
	if resp.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("%s: %s", resp.Status, body.Error)
	}
	return body.Record, nil
}

// waitPage asks until the web front serves a page.
func waitPage(ctx context.Context, addr string) (uint64, error) {
	for {
		n, err := page(ctx, addr)
		if err == nil {
			return n, nil
		}
		select {
		case <-ctx.Done():
			return 0, fmt.Errorf("wait for the web front: %w (last answer: %w)", ctx.Err(), err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// bootTime bounds how long the machines may take to boot; under emulation on a busy machine they are slow.
const bootTime = 2 * time.Minute

// openShop starts the machines at east and waits until customers are served.
func (d *demo) openShop(ctx context.Context) (*till, error) {
	ctx, cancel := context.WithTimeout(ctx, bootTime)
	defer cancel()
	for _, name := range []string{dbName, web} {
		if err := d.client.PowerMachine(ctx, "east", name, wire.Power{Action: "start"}); err != nil {
			return nil, err
		}
		d.say("%s is started", name)
	}
	db, err := d.hostPort(ctx, "east", dbName, shop.Port)
	if err != nil {
		return nil, err
	}
	front, err := d.hostPort(ctx, "east", web, 80)
	if err != nil {
		return nil, err
	}
	n, err := waitPage(ctx, front)
	if err != nil {
		return nil, err
	}
	t := listen(context.WithoutCancel(ctx), db)
	if err := t.waitFor(ctx, 1); err != nil {
		t.close()
		return nil, err
	}
	d.say("the shop is open: shop-web serves record %d, shop-db acknowledges durable records", n)
	return t, nil
}

// replicate protects the group and shows the first cycles.
func (d *demo) replicate(ctx context.Context) error {
	d.act(fmt.Sprintf("Replication to the vault, objective %.0f s", RPO.Seconds()))
	_, err := d.client.Protect(ctx, wire.Group{
		Name: group, Site: "east", Target: "west", Vault: "main", Policy: "fast",
		Machines: []wire.GroupMachine{
			{Name: dbName, Order: 1, Probe: &wire.Probe{Kind: "tcp", Port: shop.Port, Timeout: wire.Duration(bootTime)}},
			{Name: web, Order: 2, Probe: &wire.Probe{Kind: "http", Port: 80, Path: "/", Timeout: wire.Duration(bootTime)}},
		},
	})
	if err != nil {
		return err
	}
	if err := d.applyPlan(ctx); err != nil {
		return err
	}
	if err := d.watchCycles(ctx, 4); err != nil {
		return err
	}
	return d.waitInventory(ctx)
}

// watchCycles prints cycles until so many recovery points have come.
func (d *demo) watchCycles(ctx context.Context, points int) error {
	ctx, cancel := context.WithTimeout(ctx, bootTime)
	defer cancel()
	last := ""
	for points > 0 {
		st, err := d.client.GroupStatus(ctx, group)
		if err != nil {
			return err
		}
		if st.LastPoint != last && st.LastCycle != nil && st.LoseSeconds != nil {
			c := st.LastCycle
			d.say("point %-5s %-6s read %6.1f MB, stored %7.3f MB, guests paused %3.0f ms, took %.2f s",
				st.LastPoint, c.Kind, float64(c.Read)/1e6, float64(c.Stored)/1e6, c.PausedSeconds*1e3, c.Seconds)
			last = st.LastPoint
			points--
		}
		if st.Failures > 2 {
			return fmt.Errorf("replication fails: %s", st.Error)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for recovery points: %w (%s %s)", ctx.Err(), st.Replication, st.Error)
		case <-time.After(100 * time.Millisecond):
		}
	}
	st, err := d.client.GroupStatus(ctx, group)
	if err != nil {
		return err
	}
	if st.LoseSeconds != nil {
		d.say("fail over now: lose %.1f s", *st.LoseSeconds)
	}
	return nil
}

// rehearse runs a test failover and its clean-up, and checks that replication went on.
func (d *demo) rehearse(ctx context.Context) error {
	d.act("Rehearsal: a test failover at west, in isolated networks")
	before, err := d.client.AllPoints(ctx, group, client.ListPointsQuery{})
	if err != nil {
		return err
	}
	run, err := d.client.Failover(ctx, group, wire.Failover{Kind: "test", Plan: group})
	if err != nil {
		return err
	}
	began := time.Now()
	if run, err = d.waitRun(ctx, run); err != nil {
		return err
	}
	d.say("point %v runs at west after %.1f s; east goes on", run.Result["point"], time.Since(began).Seconds())
	during, err := d.client.AllPoints(ctx, group, client.ListPointsQuery{})
	if err != nil {
		return err
	}
	d.check("replication went on during the rehearsal", len(during) > len(before), fmt.Sprintf("%d new points", len(during)-len(before)))
	if run, err = d.client.Cleanup(ctx, group); err != nil {
		return err
	}
	if _, err = d.waitRun(ctx, run); err != nil {
		return err
	}
	left, err := d.client.ListMachines(ctx, "west")
	if err != nil {
		return err
	}
	d.check("the rehearsal left nothing at west", len(left) == 0, fmt.Sprintf("%d machines", len(left)))
	return nil
}

// disaster kills east in mid-write, fails over, and checks what came back.
func (d *demo) disaster(ctx context.Context, east *till) error {
	// The rehearsal took the processors of a small machine; the objective counts from undisturbed cycles.
	d.act("Replication goes on")
	if err := d.watchCycles(ctx, 2); err != nil {
		return err
	}
	d.act("Disaster: site east dies in mid-write")
	if err := d.awaitWrites(ctx, east); err != nil {
		return err
	}
	killed, err := d.killEast(east)
	if err != nil {
		return err
	}
	run, err := d.client.Failover(ctx, group, wire.Failover{Kind: "unplanned", Plan: group})
	if err != nil {
		return err
	}
	opened := make(chan error, 1)
	go func() { opened <- d.watchReopening(ctx, killed) }()
	watching, stop := context.WithCancel(ctx)
	defer stop()
	refused := make(chan uint64, 1)
	go func() { refused <- d.watchTrap(watching) }()
	run, err = d.waitRun(ctx, run)
	stop()
	dead := <-refused
	if err != nil {
		return err
	}
	if err := <-opened; err != nil {
		return err
	}
	d.check("the machines no longer need the vault", run.Result["independent"] != nil, "")
	if err := d.audit(ctx, east, killed); err != nil {
		return err
	}
	return d.auditAgents(ctx, run, dead)
}

// awaitWrites waits for a moment of disaster, which keeps no schedule: a random one between two cycles, when records are being written.
func (d *demo) awaitWrites(ctx context.Context, east *till) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(rand.N(RPO)):
	}
	return east.waitFor(ctx, east.newest()+3)
}

// killEast ends the site's processes without warning and takes its files away. It returns when.
func (d *demo) killEast(east *till) (time.Time, error) {
	pids, err := d.pids("east")
	if err != nil {
		return time.Time{}, err
	}
	killed := time.Now()
	for _, pid := range pids {
		if err := kill(pid); err != nil {
			return time.Time{}, err
		}
	}
	east.close()
	d.summary.Acknowledged = east.newest()
	d.say("SIGKILL to the %d processes of east; its disks are gone; record %d was acknowledged last", len(pids), d.summary.Acknowledged)
	return killed, os.Rename(filepath.Join(d.dir, "east"), filepath.Join(d.dir, "east.lost"))
}

// watchReopening measures when the web front at west serves its first page.
func (d *demo) watchReopening(ctx context.Context, killed time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, 2*bootTime)
	defer cancel()
	for {
		if addr, err := d.hostPort(ctx, "west", web, 80); err == nil {
			if n, err := page(ctx, addr); err == nil {
				d.summary.RTOSeconds = time.Since(killed).Seconds()
				d.say("the shop is open again: shop-web at west serves record %d, %.1f s after the kill", n, d.summary.RTOSeconds)
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the shop at west: %w", ctx.Err())
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// audit verifies the recovered database against what was acknowledged.
func (d *demo) audit(ctx context.Context, east *till, killed time.Time) error {
	d.act("Audit")
	addr, err := d.hostPort(ctx, "west", dbName, shop.Port)
	if err != nil {
		return err
	}
	west := listen(ctx, addr)
	defer west.close()
	if err := west.waitFor(ctx, 1); err != nil {
		return err
	}
	report, err := shop.Check(ctx, addr)
	if err != nil {
		return err
	}
	s := &d.summary
	s.Recovered = report.Opened
	if s.Acknowledged > s.Recovered {
		s.Lost = s.Acknowledged - s.Recovered
	}
	d.check("the file system is clean", report.Fsck == "clean", report.Fsck)
	d.check("every record's checksum and chain is right", report.FirstBad == 0,
		fmt.Sprintf("%d recovered, %d written since%s", s.Recovered, report.Records-min(report.Records, s.Recovered), report.Why))
	// A record may be durable, and captured, an instant before its acknowledgement arrives.
	kept, known := east.find(min(s.Recovered, s.Acknowledged))
	same := known && (kept.sum == report.OpenedSum || s.Recovered > s.Acknowledged)
	d.check("the newest recovered record is as it was acknowledged", same, fmt.Sprintf("record %d", s.Recovered))
	if known {
		s.RPOSeconds = max(0, killed.Sub(kept.at).Seconds())
	}
	// A point becomes one when its cycle ends, so that up to two objectives may pass between what was kept and the kill.
	d.check("the loss is within the objective and one cycle", known && s.RPOSeconds <= 2*RPO.Seconds(), fmt.Sprintf("%.1f s", s.RPOSeconds))
	if err := west.waitFor(ctx, west.newest()+3); err != nil {
		return err
	}
	d.check("the database at west goes on", true, fmt.Sprintf("record %d", west.newest()))
	points, err := d.client.AllPoints(ctx, group, client.ListPointsQuery{})
	if err != nil {
		return err
	}
	for _, p := range points {
		s.BytesMoved += p.Bytes
	}
	st, err := d.client.GroupStatus(ctx, group)
	if err != nil {
		return err
	}
	d.check("the group belongs to west now", st.Site == "west" || st.State == "failed-over", st.State)
	run, err := d.client.Commit(ctx, group)
	if err != nil {
		return err
	}
	_, err = d.waitRun(ctx, run)
	d.check("the failover is committed", err == nil, errorText(err))
	return nil
}
