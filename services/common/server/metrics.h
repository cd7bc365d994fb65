// Counters and gauges, as Prometheus reads them.
#pragma once

#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/gauge.h>
#include <prometheus/registry.h>

#include <memory>
#include <string>

namespace earmark::server {

// Thread-safe. What it returns lives as long as it does; raising a counter takes no lock, so media threads may.
class Metrics {
 public:
  // The counter of this name and these labels, made when it is new. Names end in _total. A name has one help text: the first.
  prometheus::Counter& Counter(const std::string& name, const std::string& help, const prometheus::Labels& labels = {});
  prometheus::Gauge& Gauge(const std::string& name, const std::string& help, const prometheus::Labels& labels = {});

  // All of them in Prometheus's text format, version 0.0.4.
  std::string ToText() const;

 private:
  prometheus::Registry registry_;
};

}  // namespace earmark::server
