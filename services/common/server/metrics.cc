#include "services/common/server/metrics.h"

#include <prometheus/text_serializer.h>

namespace earmark::server {

prometheus::Counter& Metrics::Counter(const std::string& name, const std::string& help, const prometheus::Labels& labels) {
  return prometheus::BuildCounter().Name(name).Help(help).Register(registry_).Add(labels);
}

prometheus::Gauge& Metrics::Gauge(const std::string& name, const std::string& help, const prometheus::Labels& labels) {
  return prometheus::BuildGauge().Name(name).Help(help).Register(registry_).Add(labels);
}

std::string Metrics::ToText() const { return prometheus::TextSerializer().Serialize(registry_.Collect()); }

}  // namespace earmark::server
