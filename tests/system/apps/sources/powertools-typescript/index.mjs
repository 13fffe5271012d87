import { Logger } from '@aws-lambda-powertools/logger';
import { injectLambdaContext } from '@aws-lambda-powertools/logger/middleware';
import { Metrics, MetricUnit } from '@aws-lambda-powertools/metrics';
import { logMetrics } from '@aws-lambda-powertools/metrics/middleware';
import { Tracer } from '@aws-lambda-powertools/tracer';
import { captureLambdaHandler } from '@aws-lambda-powertools/tracer/middleware';
import middy from '@middy/core';
const logger = new Logger({ serviceName: 'shop' });
const metrics = new Metrics({ namespace: 'Shop', serviceName: 'shop' });
const tracer = new Tracer({ serviceName: 'shop' });
const main = async (event, context) => {
  logger.info('hello', { path: event.rawPath });
  metrics.addMetric('hits', MetricUnit.Count, 1);
  tracer.putAnnotation('a', 1);
  if (event.rawPath === '/err') throw new Error('ptts broken');
  return { statusCode: 200, body: JSON.stringify({ path: event.rawPath, remaining: context.getRemainingTimeInMillis() }) };
};
export const handler = middy(main).use(captureLambdaHandler(tracer)).use(injectLambdaContext(logger, { logEvent: true })).use(logMetrics(metrics, { captureColdStartMetric: true }));
