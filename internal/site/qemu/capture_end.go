package qemu

import (
	"context"
	"fmt"
	"strings"

	"understudy/internal/site/qemu/qmp"
)

// close ends the reading of the views.
func (l *live) close() {
	for _, d := range l.disks {
		if d.client != nil {
			_ = d.client.Close()
		}
	}
	for _, f := range l.files {
		_ = f.(*bootFile).Close()
	}
}

// same reports whether QEMU is still the process that was captured. With its end the filters, the exports and the
// bitmaps in memory went too.
func (l *live) same() bool { return l.m.running() && l.m.generation() == l.generation }

func (l *live) commit(ctx context.Context) error {
	l.close()
	if l.full != nil {
		return l.full.commit(ctx)
	}
	err := l.finish(ctx, func(nodes []blockNode) []qmp.Action {
		var actions []qmp.Action
		prefix := bitmapPrefix(l.req.Group)
		for i, d := range l.journal.Disks {
			bitmaps := bitmapsOf(nodes, d.Node)
			if _, ok := bitmaps[prefix+l.req.ID]; !ok {
				continue
			}
			for name := range bitmaps {
				if strings.HasPrefix(name, prefix) && name != prefix+l.req.ID {
					actions = append(actions, l.bitmapAction(i, "remove", name, nil))
				}
			}
		}
		return actions
	})
	if err != nil {
		return err
	}
	records := l.m.readRecords(l.req.Group)
	if r, ok := records[l.req.ID]; ok {
		return l.m.writeRecords(l.req.Group, map[string]record{l.req.ID: r})
	}
	return nil
}

func (l *live) abort(ctx context.Context) error {
	l.close()
	if l.full != nil {
		return l.full.abort(ctx)
	}
	err := l.finish(ctx, func(nodes []blockNode) []qmp.Action {
		var actions []qmp.Action
		next := bitmapPrefix(l.req.Group) + l.req.ID
		for i, d := range l.journal.Disks {
			bitmaps := bitmapsOf(nodes, d.Node)
			if _, ok := bitmaps[next]; !ok || !l.marked {
				continue
			}
			if since, ok := bitmaps[l.disks[i].track.since]; ok && !since.Recording {
				actions = append(actions,
					l.bitmapAction(i, "merge", since.Name, map[string]any{"bitmaps": []string{next}}),
					l.bitmapAction(i, "enable", since.Name, nil))
			}
			actions = append(actions, l.bitmapAction(i, "remove", next, nil))
		}
		return actions
	})
	if err != nil {
		return err
	}
	records := l.m.readRecords(l.req.Group)
	if _, ok := records[l.req.ID]; ok {
		delete(records, l.req.ID)
		return l.m.writeRecords(l.req.Group, records)
	}
	return nil
}

// finish takes the graph down and carries out what then is to be done with the bitmaps. A QEMU that died needs neither,
// and one in which nothing was built has nothing to take down.
func (l *live) finish(ctx context.Context, decide func([]blockNode) []qmp.Action) error {
	if !l.built {
		return nil
	}
	if l.unlock == nil {
		unlock, err := l.m.lock(ctx)
		if err != nil {
			return err
		}
		defer unlock()
	}
	err := l.finishLocked(ctx, decide)
	if err != nil && !l.same() {
		return l.m.forgetCapture()
	}
	if err != nil {
		return fmt.Errorf("machine %s: %w", l.m.name, err)
	}
	return nil
}

func (l *live) finishLocked(ctx context.Context, decide func([]blockNode) []qmp.Action) error {
	if !l.same() {
		return l.m.forgetCapture()
	}
	c, err := l.m.monitor(ctx)
	if err != nil {
		return err
	}
	return l.m.sweep(ctx, c, false, decide)
}
