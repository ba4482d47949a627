package s3

import (
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"holdfast/gateway/route"
)

// metrics counts requests. Labels are operations and statuses, both closed
// sets; their series are looked up once and kept.
type metrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	received prometheus.Counter
	sent     prometheus.Counter
	inFlight prometheus.Gauge
	ops      []opMetrics // by operation index; the last is for no operation
}

type opMetrics struct {
	seconds atomic.Pointer[prometheus.Observer]
	codes   [len(statuses) + 1]atomic.Pointer[prometheus.Counter]
}

// statuses are those that the gateway answers; any other counts as "other".
var statuses = [...]int{200, 204, 206, 301, 303, 304, 400, 403, 404, 405, 409, 411, 412, 416, 500, 501, 503, 507}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "holdfast_s3_requests_total",
			Help: "S3 requests answered."}, []string{"operation", "code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "holdfast_s3_request_seconds",
			Help:    "Time from the request's headers to the end of the answer.",
			Buckets: []float64{.0002, .0005, .001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 60}}, []string{"operation"}),
		received: prometheus.NewCounter(prometheus.CounterOpts{Name: "holdfast_s3_received_bytes_total",
			Help: "Bytes of request bodies, as on the wire."}),
		sent: prometheus.NewCounter(prometheus.CounterOpts{Name: "holdfast_s3_sent_bytes_total",
			Help: "Bytes of answers' bodies."}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{Name: "holdfast_s3_requests_in_flight",
			Help: "S3 requests being served."}),
		ops: make([]opMetrics, len(route.All())+1),
	}
	reg.MustRegister(m.requests, m.seconds, m.received, m.sent, m.inFlight)
	return m
}

// done counts a request that has ended.
func (m *metrics) done(c *call, d time.Duration) {
	m.inFlight.Dec()
	i := len(m.ops) - 1
	if c.op != nil {
		i = c.op.Index
	}
	op := &m.ops[i]
	counter := op.codes[statusIndex(c.res.status)].Load()
	if counter == nil {
		n := m.requests.WithLabelValues(c.opName(), statusName(c.res.status))
		op.codes[statusIndex(c.res.status)].Store(&n)
		counter = &n
	}
	(*counter).Inc()
	seconds := op.seconds.Load()
	if seconds == nil {
		o := m.seconds.WithLabelValues(c.opName())
		op.seconds.Store(&o)
		seconds = &o
	}
	(*seconds).Observe(d.Seconds())
	if n := c.body.read; n > 0 {
		m.received.Add(float64(n))
	}
	if n := c.res.sent; n > 0 {
		m.sent.Add(float64(n))
	}
}

func statusIndex(status int) int {
	for i, s := range statuses {
		if s == status {
			return i
		}
	}
	return len(statuses)
}

func statusName(status int) string {
	if statusIndex(status) == len(statuses) {
		return "other"
	}
	return strconv.Itoa(status)
}
