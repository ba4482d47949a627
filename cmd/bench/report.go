package bench

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"slices"
	"text/tabwriter"
	"time"
)

// Report is the outcome of a bench. Its JSON form is stable.
type Report struct {
	Endpoint string        `json:"endpoint"`
	Started  time.Time     `json:"started"`
	Duration time.Duration `json:"step_ns"`
	Steps    []Step        `json:"steps"`
}

// Step is the outcome of one operation at one size and concurrency.
// Latencies are in milliseconds.
type Step struct {
	Op         string  `json:"op"`
	Size       int64   `json:"size"`
	Clients    int     `json:"clients"`
	Seconds    float64 `json:"seconds"`
	Ops        int64   `json:"ops"`
	Errors     int64   `json:"errors"`
	OpsPerSec  float64 `json:"ops_per_s"`
	MiBPerSec  float64 `json:"mib_per_s"`
	P50        float64 `json:"p50_ms"`
	P90        float64 `json:"p90_ms"`
	P99        float64 `json:"p99_ms"`
	Max        float64 `json:"max_ms"`
	FirstError string  `json:"first_error,omitempty"`
	Cut        bool    `json:"cut,omitempty"` // interrupted before its time was over
	// Curve is the latency at every second percentile, 0 to 100.
	Curve []float64 `json:"curve_ms"`
}

func (s *Step) name() string { return fmt.Sprintf("%s %s x%d", s.Op, size(s.Size), s.Clients) }

// Name labels the step for people.
func (s Step) Name() string {
	if s.Cut {
		return s.name() + " (cut)"
	}
	return s.name()
}

func (s *Step) fill(took time.Duration, lat []time.Duration, ops, bad, bytes int64, firstErr error) {
	slices.Sort(lat)
	at := func(p float64) float64 {
		if len(lat) == 0 {
			return 0
		}
		return float64(lat[int(p*float64(len(lat)-1))].Microseconds()) / 1000
	}
	s.Seconds, s.Ops, s.Errors = took.Seconds(), ops, bad
	s.OpsPerSec = float64(ops-bad) / took.Seconds()
	s.MiBPerSec = float64(bytes) / (1 << 20) / took.Seconds()
	s.P50, s.P90, s.P99, s.Max = at(.5), at(.9), at(.99), at(1)
	for p := 0; p <= 100; p += 2 {
		s.Curve = append(s.Curve, at(float64(p)/100))
	}
	if firstErr != nil {
		s.FirstError = firstErr.Error()
	}
}

func size(n int64) string {
	switch {
	case n >= 1<<30 && n%(1<<30) == 0:
		return fmt.Sprintf("%dGiB", n>>30)
	case n >= 1<<20 && n%(1<<20) == 0:
		return fmt.Sprintf("%dMiB", n>>20)
	case n >= 1<<10 && n%(1<<10) == 0:
		return fmt.Sprintf("%dKiB", n>>10)
	}
	return fmt.Sprintf("%dB", n)
}

// WriteTable writes the report for people.
func (r *Report) WriteTable(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "step\tops\tops/s\tMiB/s\tp50 ms\tp90 ms\tp99 ms\tmax ms\terrors\t")
	for _, s := range r.Steps {
		fmt.Fprintf(t, "%s\t%d\t%.0f\t%.1f\t%.2f\t%.2f\t%.2f\t%.2f\t%d\t\n", s.Name(), s.Ops, s.OpsPerSec, s.MiBPerSec, s.P50, s.P90, s.P99, s.Max, s.Errors)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, s := range r.Steps {
		if s.FirstError != "" {
			fmt.Fprintf(w, "%s: %s\n", s.name(), s.FirstError)
		}
	}
	return nil
}

//go:embed report.html
var page string

// WriteHTML writes the report as one page that needs nothing else.
func (r *Report) WriteHTML(w io.Writer) error {
	t, err := template.New("report").Funcs(template.FuncMap{"bars": bars, "curve": curve,
		"height": func(steps []Step) int { return 26 * len(steps) }}).Parse(page)
	if err != nil {
		return err
	}
	return t.Execute(w, r)
}

// bar is one bar of a chart, in user units of the SVG.
type bar struct {
	Y, Width, LabelX float64
	Name, Value      string
}

func bars(steps []Step, field string) []bar {
	value, format := func(s Step) float64 { return s.OpsPerSec }, "%.0f"
	if field == "mib" {
		value, format = func(s Step) float64 { return s.MiBPerSec }, "%.1f" // as in the table
	}
	top := 0.0
	for _, s := range steps {
		top = max(top, value(s))
	}
	var out []bar
	for i, s := range steps {
		width := 520 * value(s) / max(top, 1e-9)
		out = append(out, bar{float64(i) * 26, width, 180 + width + 6, s.Name(), fmt.Sprintf(format, value(s))})
	}
	return out
}

// curve returns the points of a step's latency curve from p0 to p99, 495 x 120
// units: five to a percentile. It ends at p99, which is its height, so that one
// slow operation does not flatten all others.
func curve(s Step) string {
	points := ""
	point := func(percentile, ms float64) {
		points += fmt.Sprintf("%.1f,%.1f ", 5*percentile, max(120-120*ms/max(s.P99, 1e-9), 0))
	}
	step := 100 / float64(max(len(s.Curve)-1, 1))
	for i, ms := range s.Curve {
		if p := step * float64(i); p < 99 {
			point(p, ms)
		}
	}
	point(99, s.P99)
	return points
}
