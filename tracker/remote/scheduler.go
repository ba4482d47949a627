package remote

import (
	"context"
	"time"

	"holdfast/storage"
	"holdfast/tracker"
)

// cachedMap is the cluster map as last heard.
type cachedMap struct {
	boot [16]byte
	m    *tracker.Map
	at   time.Time
}

// Place implements tracker.Scheduler. A grant that was lost on the way costs
// nothing: nothing is written for it.
func (c *Client) Place(ctx context.Context, r *tracker.PlaceRequest) (*tracker.Grant, error) {
	return read[tracker.PlaceRequest, tracker.Grant](ctx, c, schedulerService, "Place", r)
}

// Renew implements tracker.Scheduler.
func (c *Client) Renew(ctx context.Context, t *storage.Ticket) (*storage.Ticket, error) {
	return read[storage.Ticket, storage.Ticket](ctx, c, schedulerService, "Renew", t)
}

// Map implements tracker.Scheduler: the map that Run keeps, or one that is
// asked for where none is known yet or trackers have not answered for long.
func (c *Client) Map(ctx context.Context) (*tracker.Map, error) {
	if have := c.cache.Load(); have != nil {
		return have.m, nil
	}
	return c.Refresh(ctx)
}

// MapAge is how long ago a tracker said that the map is the present one; it
// is over an hour where none was heard.
func (c *Client) MapAge() time.Duration {
	if have := c.cache.Load(); have != nil {
		return c.cfg.Clock.Now().Sub(have.at)
	}
	return 24 * time.Hour
}

// Known is the map as last heard, nil for none, and its MapAge. It asks nobody.
func (c *Client) Known() (*tracker.Map, time.Duration) {
	if have := c.cache.Load(); have != nil {
		return have.m, c.MapAge()
	}
	return nil, c.MapAge()
}

// Refresh asks for the present map: whoever was told that his is stale does.
func (c *Client) Refresh(ctx context.Context) (*tracker.Map, error) {
	have := c.cache.Load()
	req := &mapRequest{}
	if have != nil {
		req.Boot, req.Version = have.boot, have.m.Version
	}
	if c.cfg.OldestRead != nil {
		req.Reader, req.ReadAge = c.self, c.cfg.OldestRead().Milliseconds()
	}
	a, err := read[mapRequest, mapAnswer](ctx, c, schedulerService, "Map", req)
	if err != nil {
		return nil, err
	}
	next := &cachedMap{boot: a.Boot, m: a.Map, at: c.cfg.Clock.Now()}
	if next.m == nil {
		if have == nil {
			return nil, tracker.ErrUnavailable
		}
		next.m = have.m
	}
	c.cache.Store(next)
	return next.m, nil
}

// Run keeps the map until ctx ends; it returns ctx's error.
func (c *Client) Run(ctx context.Context) error {
	for {
		_, _ = c.Refresh(ctx) // Map goes on with the old one
		if err := c.wait(ctx, c.cfg.MapEvery); err != nil {
			return err
		}
	}
}

// ReportDamage implements tracker.Scheduler.
func (c *Client) ReportDamage(ctx context.Context, damage []storage.Damage) error {
	if len(damage) == 0 {
		return nil
	}
	_, err := read[damageRequest, none](ctx, c, schedulerService, "ReportDamage", &damageRequest{damage})
	return err
}
