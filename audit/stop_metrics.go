package audit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/lockaudit/lockaudit/plan"
	"github.com/lockaudit/lockaudit/probes"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// maxPage bounds a page of metrics; a large service's has some megabytes.
const maxPage = 32 << 20

// threshold reads a metric and fails if any series of it is beyond the plan's
// threshold. A metric that is not there fails too: it may have been renamed, and then
// nobody looks.
func (s *stopper) threshold(ctx context.Context, c plan.StopIf) error {
	t, err := plan.ParseThreshold(c.When)
	if err != nil {
		return err
	}
	page, err := s.page(ctx, c.Metrics)
	if err != nil {
		return err
	}
	samples, err := sampled(page, t)
	if err != nil {
		return err
	}
	for _, sample := range samples {
		if v := float64(sample.Value); t.Holds(v) {
			return fmt.Errorf("%s is %s", sample.Metric, strconv.FormatFloat(v, 'g', -1, 64))
		}
	}
	if len(samples) == 0 {
		return errors.New("it serves no such metric")
	}
	return nil
}

func (s *stopper) page(ctx context.Context, address string) (probes.Page, error) {
	resp, err := s.ask(ctx, address)
	if err != nil {
		return probes.Page{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxPage+1))
	switch {
	case err != nil:
		return probes.Page{}, fmt.Errorf("read the metrics: %w", err)
	case len(text) > maxPage:
		return probes.Page{}, fmt.Errorf("it serves more than %d MB", maxPage>>20)
	}
	return probes.Page{Status: resp.StatusCode, ContentType: resp.Header.Get("Content-Type"), Text: text}, nil
}

// sampled are the series that the threshold names, those of histograms and summaries
// under the names that a Prometheus gives them.
func sampled(page probes.Page, t plan.Threshold) (model.Vector, error) {
	families, err := page.Families()
	if err != nil {
		return nil, err
	}
	var out model.Vector
	for _, family := range families {
		samples, err := expfmt.ExtractSamples(&expfmt.DecodeOptions{}, family)
		if err != nil {
			return nil, fmt.Errorf("read the metrics: %w", err)
		}
		for _, sample := range samples {
			if named(sample.Metric, t) {
				out = append(out, sample)
			}
		}
	}
	return out, nil
}

func named(m model.Metric, t plan.Threshold) bool {
	if string(m[model.MetricNameLabel]) != t.Name {
		return false
	}
	for label, value := range t.Labels {
		if string(m[model.LabelName(label)]) != value {
			return false
		}
	}
	return true
}
